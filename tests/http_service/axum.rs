//! Under axum: routers, middleware, nesting, and one shutdown for both.

use std::{
    future::IntoFuture,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use axeom_ws::{
    App, CloseCode, ConnectionError, Message, Options, Peer, Rejection, Ws, http::Response,
    tokio::HttpService,
};
use axum::{Router, extract::Request, middleware, routing::get};
use futures::{FutureExt, channel::oneshot, future::pending};
use tokio::net::TcpListener;

use crate::support::{
    Client, Events, TestRuntime,
    frame::{self, Frame, TEXT},
    raw::{Raw, Response as RawResponse},
    recorder::kind,
    request::Request as RawRequest,
    run,
    runtimes::Tokio,
    until,
};

/// An axum server in the background.
struct Served {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Served {
    /// Serves a router until it is stopped, which the service hears of first.
    async fn start(router: Router, service: &HttpService) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        let stopped = service.connections().closing_on(stopped.map(drop));
        let router = router.into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(listener, router).with_graceful_shutdown(stopped);
        tokio::spawn(async move {
            serving.into_future().await.unwrap();
            let _ = end.send(());
        });
        Self { addr, stop, ended }
    }

    async fn connect(&self, path: &str) -> Client<Tokio> {
        let url = format!("ws://{}{path}", self.addr);
        let (stream, _) = async_tungstenite::tokio::connect_async(url).await.unwrap();
        Client(stream)
    }

    async fn raw(&self) -> Raw {
        Raw::new(Tokio::connect_tcp(self.addr).await)
    }

    /// A response to a request on a connection that goes on.
    async fn ask(&self, request: RawRequest) -> RawResponse {
        self.raw().await.ask(&request.and("Connection: close")).await
    }
}

/// What the middleware below makes of a request.
#[derive(Clone)]
struct User(String);

async fn authenticate(mut request: Request, next: middleware::Next) -> axum::response::Response {
    if let Some(user) = request.headers().get("x-user") {
        let user = User(user.to_str().unwrap().to_owned());
        request.extensions_mut().insert(user);
    }
    next.run(request).await
}

fn echo() -> App {
    App::new().ws("/echo", |route| {
        route.message(async |ws, message| {
            let _ = ws.send(message).await;
        })
    })
}

/// The same, with a route that tells the codes of its closes.
fn telling() -> (App, Events<u16>) {
    let events = Events::new();
    let on_close = events.teller();
    let app = echo().ws("/closes", move |route| {
        route.close(move |_, code: CloseCode, _| {
            on_close(code.as_u16());
            async {}
        })
    });
    (app, events)
}

fn test(test: impl Future<Output = ()> + Send + 'static) {
    run::<Tokio>(test);
}

#[test]
fn an_app_is_mounted_beside_other_routes() {
    test(async {
        let service = HttpService::new(echo()).unwrap();
        let router =
            Router::new().route("/", get(async || "the page")).fallback_service(service.clone());
        let served = Served::start(router, &service).await;
        let mut client = served.connect("/echo").await;
        for size in [0, 5, 100_000, 1_000_000] {
            let text = async_tungstenite::tungstenite::Message::from("é".repeat(size));
            client.send(text.clone()).await;
            assert_eq!(client.recv().await, text);
        }
        assert_eq!(service.connections().service().handle().connections(), 1);
        assert_eq!(client.close(4001, "bye").await, Some((4001, "bye".to_owned())));
        until(|| service.connections().service().handle().connections() == 0).await;

        assert_eq!(served.ask(RawRequest::plain("GET /")).await.body, "the page");
        assert_eq!(served.ask(RawRequest::plain("GET /nowhere")).await.status, 404);
        let plain = served.ask(RawRequest::plain("GET /echo")).await;
        assert_eq!((plain.status, plain.header("upgrade")), (426, Some("websocket")));
        assert!(plain.header("date").is_some());
        let post = served.ask(RawRequest::plain("POST /echo")).await;
        assert_eq!((post.status, post.header("allow")), (405, Some("GET")));
        let old = RawRequest::get("/echo").with("Sec-WebSocket-Version", "8").without("Connection");
        let old = served.ask(old.and("Connection: upgrade")).await;
        assert_eq!((old.status, old.header("sec-websocket-version")), (426, Some("13")));
        let foreign = RawRequest::get("/echo").and("Origin: http://evil.example");
        assert_eq!(served.ask(foreign).await.status, 403);
    });
}

#[test]
fn derives_and_handlers_see_the_peer_and_what_middleware_found() {
    test(async {
        let app = App::new()
            .derive(async |ctx| {
                ctx.extension::<User>().cloned().ok_or(Rejection::forbidden("who?"))
            })
            .ws("/", |route| {
                route.open(async |ws| {
                    let user: &User = ws.get();
                    let same = ws.extension::<User>().unwrap();
                    let _ = ws.send(format!("{} {} {}", user.0, same.0, ws.peer())).await;
                })
            });
        let service = HttpService::new(app).unwrap();
        let router = Router::new()
            .route_service("/", service.clone())
            .layer(middleware::from_fn(authenticate));
        let served = Served::start(router, &service).await;
        assert_eq!(served.ask(RawRequest::get("/")).await.status, 403);
        let mut raw = served.raw().await;
        raw.send(RawRequest::get("/").and("X-User: ada").text()).await;
        assert_eq!(raw.head().await.status, 101);
        let hello = String::from_utf8(raw.frame().await.payload).unwrap();
        assert!(hello.starts_with("ada ada 127.0.0.1:"), "{hello}");
    });
}

#[test]
fn without_connect_info_the_peer_is_unknown_or_what_the_program_says() {
    test(async {
        let app = App::new().ws("/", |route| {
            route.open(async |ws: Ws| {
                let _ = ws.send(ws.peer().to_string()).await;
            })
        });
        let service = HttpService::new(app).unwrap();
        for (service, peer) in
            [(service.clone(), "unknown"), (service.for_peer(Peer::Unix), "unix")]
        {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let addr = listener.local_addr().unwrap();
            let router = Router::new().fallback_service(service);
            tokio::spawn(axum::serve(listener, router).into_future());
            let mut raw = Raw::new(Tokio::connect_tcp(addr).await);
            raw.upgrade("/").await;
            assert_eq!(raw.frame().await, Frame::text(peer));
        }
    });
}

#[test]
fn routes_are_matched_behind_the_prefix_of_a_nest() {
    test(async {
        let app = App::new().ws("/rooms/:room", |route| {
            route.open(async |ws| {
                let _ = ws.send(ws.param("room")).await;
            })
        });
        let service = HttpService::new(app).unwrap();
        let router = Router::new().nest_service("/chat", service.clone());
        let served = Served::start(router, &service).await;
        let mut client = served.connect("/chat/rooms/lobby").await;
        assert_eq!(client.recv_text().await, "lobby");
        assert_eq!(served.ask(RawRequest::get("/rooms/lobby")).await.status, 404);
    });
}

#[test]
fn other_requests_are_passed_to_an_inner_service() {
    test(async {
        let service = HttpService::new(echo()).unwrap();
        let inner = Router::new().route("/echo", get(async || "a page about echoes"));
        let inner = inner.into_service::<axum::body::Body>();
        let router = Router::new().fallback_service(service.clone().or(inner));
        let served = Served::start(router, &service).await;
        let mut client = served.connect("/echo").await;
        client.send("hi").await;
        assert_eq!(client.recv_text().await, "hi");
        let page = served.ask(RawRequest::plain("GET /echo")).await;
        assert_eq!((page.status, page.body.as_str()), (200, "a page about echoes"));
        assert_eq!(served.ask(RawRequest::get("/nowhere")).await.status, 404);
    });
}

#[test]
fn the_fallback_of_the_app_answers_where_nothing_else_does() {
    test(async {
        let app = echo().fallback(async |request| {
            Response::new(format!("nothing at {}", request.uri().path()))
        });
        let service = HttpService::new(app).unwrap();
        let served = Served::start(Router::new().fallback_service(service.clone()), &service).await;
        assert_eq!(served.ask(RawRequest::plain("GET /here")).await.body, "nothing at /here");
        // The connection goes on after such a response.
        let mut raw = served.raw().await;
        for path in ["/one", "/two"] {
            raw.send(RawRequest::plain(&format!("GET {path}")).text()).await;
            assert_eq!(raw.head().await.status, 200);
            while raw.received.len() < "nothing at /one".len() {
                assert!(raw.read().await);
            }
            raw.received.clear();
        }
    });
}

#[test]
fn frames_that_come_with_the_request_are_not_lost() {
    test(async {
        let service = HttpService::new(echo()).unwrap();
        let served = Served::start(Router::new().fallback_service(service.clone()), &service).await;
        let early = [frame::masked(TEXT, b"one"), frame::masked(TEXT, &[b'2'; 5000])].concat();
        for cut in [0, 3, early.len()] {
            let mut raw = served.raw().await;
            let request = RawRequest::get("/echo").text();
            raw.send([request.as_bytes(), &early[..cut]].concat()).await;
            assert_eq!(raw.head().await.status, 101);
            raw.send(&early[cut..]).await;
            assert_eq!(raw.frame().await, Frame::text("one"), "cut at {cut}");
            assert_eq!(raw.frame().await, Frame::new(TEXT, [b'2'; 5000]), "cut at {cut}");
            raw.send(frame::close(1000)).await;
            assert_eq!(raw.close_code().await, 1000);
        }
    });
}

#[test]
fn one_signal_ends_both_servers() {
    test(async {
        let (app, mut events) = telling();
        let service = HttpService::new(app).unwrap();
        let router = Router::new().route("/", get(async || "")).fallback_service(service.clone());
        let served = Served::start(router, &service).await;
        let (mut client, mut other) =
            (served.connect("/echo").await, served.connect("/closes").await);
        let _ = served.stop.send(());
        assert_eq!(client.closed().await.unwrap().0, 1001);
        assert_eq!(other.closed().await.unwrap().0, 1001);
        served.ended.await.unwrap();
        service.connections().shutdown(Duration::from_secs(10)).await;
        assert_eq!(events.rest(), [1001]);
        assert_eq!(service.connections().service().handle().connections(), 0);
    });
}

#[test]
fn the_handle_of_the_app_ends_both_servers_too() {
    test(async {
        let service = HttpService::new(echo()).unwrap();
        let served = Served::start(Router::new().fallback_service(service.clone()), &service).await;
        let mut client = served.connect("/echo").await;
        service.connections().service().handle().shutdown();
        assert_eq!(client.closed().await.unwrap().0, 1001);
        served.ended.await.unwrap();
    });
}

#[test]
fn a_client_that_does_not_close_is_cut_after_the_grace_period() {
    test(async {
        let mut events = Events::new();
        let (on_error, on_close) = (events.teller(), events.teller());
        let app = App::new().ws("/", |route| {
            route
                .message(async |_, _: Message| {})
                .error(move |_, error: ConnectionError| {
                    on_error(kind(&error).to_owned());
                    async {}
                })
                .close(move |_, code: CloseCode, _| {
                    on_close(code.to_string());
                    async {}
                })
        });
        let service = HttpService::new(app).unwrap();
        let served = Served::start(Router::new().fallback_service(service.clone()), &service).await;
        let mut raw = served.raw().await;
        raw.upgrade("/").await;
        service.connections().shutdown(Duration::from_millis(20)).await;
        assert_eq!(events.rest().last().map(String::as_str), Some("1006"));
        assert_eq!(raw.frame().await.close_code(), Some(1001));
        assert_eq!(raw.try_frame().await, None);
    });
}

#[test]
fn deadlines_pass_in_a_mounted_app_though_its_connections_came_one_by_one() {
    test(async {
        let app = echo().options(Options::new().max_lifetime(Duration::from_millis(20)));
        let service = HttpService::new(app).unwrap();
        let served = Served::start(Router::new().fallback_service(service.clone()), &service).await;
        for _ in 0..3 {
            assert_eq!(served.connect("/echo").await.closed().await.unwrap().0, 1001);
            until(|| service.connections().service().handle().connections() == 0).await;
        }
    });
}

#[cfg(feature = "http2")]
#[test]
fn a_stream_that_is_reset_is_1006_and_leaves_the_others_of_its_connection_alone() {
    use axeom_ws::{Bytes, TransportStream, tokio::Io};
    use http_body_util::Empty;
    use hyper::{client::conn::http2, ext::Protocol, http::Version};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::net::TcpStream;

    test(async {
        let (app, mut events) = telling();
        let service = HttpService::new(app).unwrap();
        let served = Served::start(Router::new().fallback_service(service.clone()), &service).await;
        let stream = TokioIo::new(TcpStream::connect(served.addr).await.unwrap());
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        let mut open = async |path: &str| loop {
            let mut request = axum::http::Request::connect(format!("http://{}{path}", served.addr))
                .version(Version::HTTP_2)
                .header("sec-websocket-version", "13")
                .body(Empty::<Bytes>::new())
                .unwrap();
            request.extensions_mut().insert(Protocol::from_static("websocket"));
            // The server's SETTINGS allow it, once they are here.
            match sender.send_request(request).await {
                Ok(response) => break hyper::upgrade::on(response).await.unwrap(),
                Err(error) => assert!(error.is_user(), "{error}"),
            }
            tokio::task::yield_now().await;
        };
        let (closes, echoes) = (open("/closes").await, open("/echo").await);
        assert_eq!(service.connections().service().handle().connections(), 2);
        drop(closes);
        assert_eq!(events.next().await, 1006);
        let mut raw = Raw::new(TransportStream(Io::new(TokioIo::new(echoes))));
        raw.send(frame::masked(TEXT, b"still there")).await;
        assert_eq!(raw.frame().await, Frame::text("still there"));
    });
}

#[test]
fn derives_that_do_not_decide_are_answered_with_503() {
    test(async {
        let app = App::new()
            .handshake_timeout(Duration::from_millis(20))
            .derive(async |_| {
                pending::<()>().await;
                Ok(())
            })
            .ws("/", |route| route);
        let service = HttpService::new(app).unwrap();
        let served = Served::start(Router::new().fallback_service(service.clone()), &service).await;
        assert_eq!(served.ask(RawRequest::get("/")).await.status, 503);
    });
}

#[test]
fn places_are_limited_in_a_mounted_app() {
    test(async {
        let service = HttpService::new(echo().max_connections_per_ip(1)).unwrap();
        let served = Served::start(Router::new().fallback_service(service.clone()), &service).await;
        let client = served.connect("/echo").await;
        let refused = served.ask(RawRequest::get("/echo")).await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
        drop(client);
        until(|| service.connections().service().handle().connections() == 0).await;
        served.connect("/echo").await;
    });
}
