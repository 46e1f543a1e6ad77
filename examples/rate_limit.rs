//! Limits how often each client may ask for anything, with the crate `governor`.
//!
//! ```text
//! cargo run --example rate_limit
//!
//! # Eight times in a row: first 426, because curl asks for no upgrade, and then 429, Retry-After.
//! for n in 1 2 3 4 5 6 7 8; do curl -si http://127.0.0.1:3000/ | head -n 1; done
//! ```

mod support;

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::Arc,
    thread,
    time::Duration,
};

use axeom_ws::{App, BoxError, Context, Rejection};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};

/// How many requests a client may have ahead, and how often it gets another.
const BURST: NonZeroU32 = NonZeroU32::new(5).unwrap();
const EVERY: Duration = Duration::from_secs(10);

fn main() -> Result<(), BoxError> {
    let quota = Quota::with_period(EVERY).ok_or("the period is zero")?.allow_burst(BURST);
    let limiter = Arc::new(RateLimiter::keyed(quota));
    forget_the_quiet(Arc::clone(&limiter));
    let app = App::new()
        // Ahead of routing, so that whoever guesses paths is counted too.
        .before(move |request| {
            let admitted = admit(&limiter, &request);
            async { admitted }
        })
        .ws("/", |route| {
            route.message(async |ws, message| {
                let _ = ws.send(message).await;
            })
        });
    support::serve(app)
}

fn admit(limiter: &DefaultKeyedRateLimiter<IpAddr>, request: &Context) -> Result<(), Rejection> {
    // Who comes over a Unix socket has no address.
    let Some(ip) = request.peer().ip() else { return Ok(()) };
    limiter.check_key(&client(ip)).map_err(|not_yet| {
        Rejection::too_many_requests(not_yet.wait_time_from(limiter.clock().now()))
    })
}

/// A client has a whole IPv6 network of 64 bits to choose its address from.
fn client(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

/// Drops the counts of clients that have their whole burst again. Otherwise the memory would grow
/// with every address that was ever seen.
fn forget_the_quiet(limiter: Arc<DefaultKeyedRateLimiter<IpAddr>>) {
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_secs(60));
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    });
}
