//! What handlers do wrong, once for each of many peers.

use std::{io::Write, iter, thread, time::Duration};

use super::Siege;
use crate::{
    Result,
    client::{TEXT, frame},
};

pub(super) fn misbehave(siege: &Siege) -> Result<u64> {
    let message = frame(TEXT, b"go");
    for _ in 0..siege.times(10) {
        let mut peers = Vec::new();
        for path in ["/panic", "/hang", "/leak"] {
            for mut peer in siege.open_many(50, path)? {
                peer.write_all(&message)?;
                siege.count(1);
                peers.push(peer);
            }
        }
        // Each handler has its message by then.
        thread::sleep(Duration::from_millis(100));
    }
    siege.until_over(iter::empty::<fn() -> Result<()>>(), || ())
}
