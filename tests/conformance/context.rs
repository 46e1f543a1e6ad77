//! What handlers know of their handshake: derived values, parameters, headers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axeom_ws::{
    App, Context, Handler, HandlerResult, Message, Options, Rejection, Route, Ws,
    context::{Get, With},
    route::Handled,
};

use crate::{
    on_every_runtime,
    support::{Events, TestRuntime, TestServer, frame, raw::Response, request::Request},
};

on_every_runtime!(
    mounted over http1:
    decorated_values_are_shared_and_derived_ones_are_not,
    derives_build_on_each_other_in_order,
    a_route_has_what_came_before_it,
    what_a_group_adds_stays_inside,
    a_group_prefixes_its_paths,
    a_plugin_adds_whatever_a_function_adds,
    a_guard_only_checks,
    options_of_a_route_go_before_those_of_its_group_and_app,
    the_request_is_there_for_derives_and_handlers,
    derives_and_handlers_are_answered_alike,
    all_values_of_a_repeated_header_are_there,
    every_connection_has_an_id_of_its_own
);

struct Db(&'static str);

struct User {
    name: String,
}

struct Role(String);

/// Says hello with what a context holds.
async fn greeting<R: TestRuntime>(server: &TestServer, path: &str) -> String {
    server.connect::<R>(path).await.recv_text().await
}

async fn status<R: TestRuntime>(server: &TestServer, path: &str) -> Response {
    let mut raw = server.raw::<R>().await;
    raw.send(Request::get(path).text()).await;
    raw.head().await
}

async fn user(ctx: Context<impl Sized>) -> Result<User, Rejection> {
    let name = ctx.query("user").ok_or(Rejection::unauthorized("Bearer"))?;
    Ok(User { name: name.into_owned() })
}

async fn decorated_values_are_shared_and_derived_ones_are_not<R: TestRuntime>() {
    struct Count(AtomicUsize);
    let app = App::new()
        .decorate(Count(AtomicUsize::new(0)))
        .derive(async |ctx| {
            let count: &Count = ctx.get();
            Ok(count.0.fetch_add(1, Ordering::SeqCst))
        })
        .ws("/", |route| {
            route.open(async |ws: Ws<With<usize, With<Count, ()>>>| {
                let all: &Count = ws.get();
                let mine: &usize = ws.get();
                let all = all.0.load(Ordering::SeqCst);
                let _ = ws.send(format!("{mine} of {all}")).await;
            })
        });
    let server = TestServer::start::<R, _>(app).await;
    for n in 0..3 {
        assert_eq!(greeting::<R>(&server, "/").await, format!("{n} of {}", n + 1));
    }
}

async fn derives_build_on_each_other_in_order<R: TestRuntime>() {
    let app = App::new()
        .decorate(Db("main"))
        .derive(user)
        .derive(async |ctx| {
            let db: &Db = ctx.get();
            // Derefs to the newest value.
            Ok(Role(format!("{} on {}", ctx.data().name, db.0)))
        })
        .ws("/", |route| {
            route.open(async |ws| {
                let user: &User = ws.get();
                let db: &Db = ws.get();
                let _ = ws.send(format!("{} | {} | {}", ws.data().0, user.name, db.0)).await;
            })
        });
    let server = TestServer::start::<R, _>(app).await;
    let hello = greeting::<R>(&server, "/?user=ada").await;
    assert_eq!(hello, "ada on main | ada | main");
    // The first one that rejects ends the handshake.
    assert_eq!(status::<R>(&server, "/").await.status, 401);
}

async fn a_route_has_what_came_before_it<R: TestRuntime>() {
    let app = App::new()
        .ws("/open", |route| {
            route.open(async |ws: Ws<()>| {
                let _ = ws.send("anybody").await;
            })
        })
        .derive(user)
        .ws("/named", |route| {
            route.open(async |ws| {
                let _ = ws.send(ws.data().name.clone()).await;
            })
        });
    let server = TestServer::start::<R, _>(app).await;
    assert_eq!(greeting::<R>(&server, "/open").await, "anybody");
    assert_eq!(greeting::<R>(&server, "/named?user=ada").await, "ada");
    assert_eq!(status::<R>(&server, "/named").await.status, 401);
}

async fn what_a_group_adds_stays_inside<R: TestRuntime>() {
    let app = App::new()
        .decorate(Db("main"))
        .group("/admin", |app| {
            app.derive(user).ws("/", |route| {
                route.open(async |ws| {
                    let db: &Db = ws.get();
                    let _ = ws.send(format!("{} on {}", ws.data().name, db.0)).await;
                })
            })
        })
        .ws("/public", |route| {
            route.open(async |ws: Ws<With<Db, ()>>| {
                let _ = ws.send(ws.data().0).await;
            })
        });
    let server = TestServer::start::<R, _>(app).await;
    assert_eq!(greeting::<R>(&server, "/admin?user=ada").await, "ada on main");
    assert_eq!(status::<R>(&server, "/admin").await.status, 401);
    assert_eq!(greeting::<R>(&server, "/public").await, "main");
}

/// A route that says which it is.
fn saying<D>(path: &'static str) -> impl FnOnce(Route<D>) -> Route<D, Handled<Saying>>
where
    D: Send + Sync + 'static,
{
    move |route| route.handler(Saying(path))
}

struct Saying(&'static str);

impl<D: Send + Sync + 'static> Handler<D> for Saying {
    type Session = ();

    fn session(&self, _: &Ws<D>) {}

    async fn open(&self, _: &mut (), ws: Ws<D>) -> HandlerResult {
        Ok(ws.send(self.0).await?)
    }
}

async fn a_group_prefixes_its_paths<R: TestRuntime>() {
    let app = App::new().ws("/a", saying("/a")).group("/v1", |group| {
        group
            .ws("/", saying("/"))
            .ws("/b", saying("/b"))
            .group("/:tenant", |group| group.ws("/c", saying("/c")).ws("/*", saying("/*")))
    });
    let server = TestServer::start::<R, _>(app).await;
    for (path, route) in [
        ("/a", "/a"),
        ("/v1", "/"),
        ("/v1/b", "/b"),
        ("/v1/x/c", "/c"),
        ("/v1/x/y/z", "/*"),
        ("/v1/b/c", "/c"),
    ] {
        assert_eq!(greeting::<R>(&server, path).await, route, "{path}");
    }
    for path in ["/b", "/c", "/v2/b", "/v1/x"] {
        assert_eq!(status::<R>(&server, path).await.status, 404, "{path}");
    }
}

/// What a library could offer: a derive, and a route of its own.
fn auth<D>(app: App<D>) -> App<With<User, D>>
where
    D: Clone + Send + Sync + 'static,
{
    app.derive(user).ws("/whoami", saying("/whoami"))
}

async fn a_plugin_adds_whatever_a_function_adds<R: TestRuntime>() {
    let app = App::new().decorate(Db("main")).plugin(auth).plugin(|app| {
        app.ws("/name", |route| {
            route.open(async |ws| {
                let db: &Db = ws.get();
                let _ = ws.send(format!("{} on {}", ws.data().name, db.0)).await;
            })
        })
    });
    let server = TestServer::start::<R, _>(app).await;
    assert_eq!(greeting::<R>(&server, "/whoami?user=ada").await, "/whoami");
    assert_eq!(greeting::<R>(&server, "/name?user=ada").await, "ada on main");
    assert_eq!(status::<R>(&server, "/whoami").await.status, 401);
}

async fn a_guard_only_checks<R: TestRuntime>() {
    let app =
        App::new()
            .derive(user)
            .guard(async |ctx| {
                if ctx.data().name == "eve" { Err(Rejection::forbidden("not you")) } else { Ok(()) }
            })
            .ws("/", |route| {
                // The context is that from before the guard.
                route.open(async |ws: Ws<With<User, ()>>| {
                    let _ = ws.send(ws.data().name.clone()).await;
                })
            });
    let server = TestServer::start::<R, _>(app).await;
    assert_eq!(greeting::<R>(&server, "/?user=ada").await, "ada");
    assert_eq!(status::<R>(&server, "/?user=eve").await.status, 403);
    assert_eq!(status::<R>(&server, "/").await.status, 401);
}

async fn options_of_a_route_go_before_those_of_its_group_and_app<R: TestRuntime>() {
    struct Echo;

    impl Handler for Echo {
        type Session = ();

        fn session(&self, _: &Ws) {}

        async fn message(&self, _: &mut (), ws: Ws, message: Message) -> HandlerResult {
            Ok(ws.send(message).await?)
        }
    }

    let limit = |bytes| Options::new().max_message_size(bytes);
    let app = App::new()
        .ws("/app", |route| route.handler(Echo))
        .ws("/route", |route| route.handler(Echo).options(limit(5)))
        .group("/group", |group| {
            group
                .ws("/group", |route| route.handler(Echo))
                .ws("/route", |route| route.handler(Echo).options(limit(15)))
                .options(limit(10))
        })
        // After the routes: options hold for all of the app.
        .options(Options::new().max_message_size(20));
    let server = TestServer::start::<R, _>(app).await;
    for (path, limit) in [("/app", 20), ("/route", 5), ("/group/group", 10), ("/group/route", 15)] {
        let mut raw = server.upgraded::<R>(path).await;
        raw.send(frame::masked(frame::BINARY, &vec![0; limit])).await;
        assert_eq!(raw.frame().await.payload.len(), limit, "{path}");
        raw.send(frame::masked(frame::BINARY, &vec![0; limit + 1])).await;
        assert_eq!(raw.close_code().await, 1009, "{path}");
    }
}

async fn the_request_is_there_for_derives_and_handlers<R: TestRuntime>() {
    struct Seen(Vec<String>);
    let mut events = Events::new();
    let tell = Arc::new(events.teller());
    let app = App::new()
        .derive(async |ctx| {
            Ok(Seen(vec![
                ctx.param("room").to_owned(),
                ctx.param("*").to_owned(),
                ctx.param("nothing").to_owned(),
                format!("{:?}", ctx.header("X-Twice")),
                format!("{:?}", ctx.header("x-nothing")),
                format!("{:?}", ctx.header_map().get_all("x-twice").iter().count()),
                format!("{:?} {:?}", ctx.query("q"), ctx.query("nothing")),
                format!("{:?} {:?}", ctx.cookie("session"), ctx.cookie("nothing")),
                ctx.uri().to_string(),
                ctx.peer().to_string(),
            ]))
        })
        .ws("/chat/:room/*", |route| {
            route.protocols(["v1"]).message(move |ws: Ws<With<Seen, ()>>, _| {
                let tell = Arc::clone(&tell);
                async move {
                    tell(ws.data().0.clone());
                    tell(vec![
                        ws.param("room").to_owned(),
                        ws.param("*").to_owned(),
                        ws.param("nothing").to_owned(),
                        format!("{:?}", ws.header("X-TWICE")),
                        format!("{:?}", ws.header("x-nothing")),
                        ws.uri().to_string(),
                        ws.peer().to_string(),
                        format!("{:?}", ws.protocol()),
                    ]);
                }
            })
        });
    let server = TestServer::start::<R, _>(app).await;
    let path = "/chat/caf%C3%A9%2Fbar/deep/er%20?q=a%20b%26c+d&q=second";
    let headers = [
        ("x-twice", "one"),
        ("x-twice", "two"),
        ("cookie", "theme=dark; session=a=b"),
        ("sec-websocket-protocol", "v1"),
    ];
    let (mut client, _) = server.request::<R>(path, &headers).await.unwrap();
    client.send("go").await;
    let derived = events.next().await;
    let expected = [
        "café/bar",
        "deep/er ",
        "",
        "Some(\"one\")",
        "None",
        "2",
        "Some(\"a b&c d\") None",
        "Some(\"a=b\") None",
        path,
    ];
    assert_eq!(derived[..expected.len()], expected);
    let handled = events.next().await;
    let expected = ["café/bar", "deep/er ", "", "Some(\"one\")", "None", path];
    assert_eq!(handled[..expected.len()], expected);
    assert_eq!(handled[expected.len() + 1], "Some(\"v1\")");
    // Both say the address of the client, which is not that of the server.
    assert_eq!(derived.last(), handled.get(expected.len()));
    assert!(derived.last().unwrap().starts_with("127.0.0.1:"));
    assert_ne!(*derived.last().unwrap(), server.addr.to_string());
}

async fn derives_and_handlers_are_answered_alike<R: TestRuntime>() {
    struct Seen(Vec<Option<String>>);
    let mut events = Events::new();
    let tell = Arc::new(events.teller());
    const ASKED: [&str; 5] = ["q", "empty", "bytes", "plain", "none"];
    let app = App::new()
        .derive(async |ctx| {
            let owned = |text: &str| text.to_owned();
            let mut seen: Vec<_> =
                ASKED.map(|name| ctx.query(name).map(|text| text.into_owned())).into();
            seen.extend(ASKED.map(|name| ctx.cookie(name).map(owned)));
            seen.extend(ASKED.map(|name| ctx.header(name).map(owned)));
            seen.extend(ctx.params().map(|(name, value)| Some(format!("{name}={value}"))));
            seen.push(Some(ctx.uri().to_string()));
            Ok(Seen(seen))
        })
        .ws("/:a/:b/*", move |route| {
            route.open(move |ws: Ws<With<Seen, ()>>| {
                let owned = |text: &str| text.to_owned();
                let mut seen: Vec<_> =
                    ASKED.map(|name| ws.query(name).map(|text| text.into_owned())).into();
                seen.extend(ASKED.map(|name| ws.cookie(name).map(owned)));
                seen.extend(ASKED.map(|name| ws.header(name).map(owned)));
                seen.extend(ws.params().map(|(name, value)| Some(format!("{name}={value}"))));
                seen.push(Some(ws.uri().to_string()));
                let derived: &Seen = ws.get();
                tell((derived.0.clone(), seen));
                async {}
            })
        });
    let server = TestServer::start::<R, _>(app).await;
    let path = "/x/y%20z/?q=%C3%A9+1&empty=&bytes=%FF&plain&q=2";
    let mut raw = server.raw::<R>().await;
    let request = Request::get(path)
        .and("Cookie: q=1; empty=; plain")
        .and("Cookie: none=too late; none=x")
        .and("q: header")
        .and("empty:");
    raw.send(request.text()).await;
    assert_eq!(raw.head().await.status, 101);
    let (derived, handled) = events.next().await;
    assert_eq!(derived, handled);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(derived[..5], [some("é 1"), some(""), None, some(""), None]);
    assert_eq!(derived[5..10], [some("1"), some(""), None, None, some("too late")]);
    assert_eq!(derived[10..15], [some("header"), some(""), None, None, None]);
    assert_eq!(derived[15..18], [some("a=x"), some("b=y z"), some("*=")]);
    assert_eq!(derived[18..], [some(path)]);
}

async fn all_values_of_a_repeated_header_are_there<R: TestRuntime>() {
    struct Seen(Vec<Vec<String>>);
    const ASKED: [&str; 4] = ["X-Forwarded-For", "x-bytes", "x-missing", ":uri"];
    let mut events = Events::new();
    let tell = events.teller();
    let app = App::new()
        .derive(async |ctx| {
            Ok(Seen(ASKED.map(|name| ctx.headers(name).map(str::to_owned).collect()).into()))
        })
        .ws("/", |route| {
            route.open(move |ws: Ws<With<Seen, ()>>| {
                let all: [Vec<String>; 4] =
                    ASKED.map(|name| ws.headers(name).map(str::to_owned).collect());
                tell((ws.data().0.clone(), Vec::from(all)));
                async {}
            })
        });
    let server = TestServer::start::<R, _>(app).await;
    let mut raw = server.raw::<R>().await;
    let head = Request::get("/")
        .and("X-Forwarded-For: 10.0.0.1")
        .and("X-Bytes: \u{e9}")
        .and("x-forwarded-for: 10.0.0.2, 10.0.0.3")
        .and("X-FORWARDED-FOR: 10.0.0.4")
        .text();
    // One byte of the two that this letter has in UTF-8 is left out.
    let mut head = head.into_bytes();
    let letter = head.windows(2).position(|pair| pair == "\u{e9}".as_bytes()).unwrap();
    head.remove(letter);
    raw.send(head).await;
    assert_eq!(raw.head().await.status, 101);
    let (derived, handled): (Vec<Vec<String>>, _) = events.next().await;
    assert_eq!(derived, handled);
    assert_eq!(derived[0], ["10.0.0.1", "10.0.0.2, 10.0.0.3", "10.0.0.4"]);
    assert_eq!(derived[1..], [[], [], [] as [&str; 0]]);
}

async fn every_connection_has_an_id_of_its_own<R: TestRuntime>() {
    let app = App::new().ws("/", |route| {
        route
            .open(async |ws: Ws| {
                let _ = ws.send(ws.id().to_string()).await;
            })
            .message(async |ws: Ws, _| {
                let _ = ws.clone().send(ws.id().to_string()).await;
            })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut ids = std::collections::HashSet::new();
    for _ in 0..10 {
        let mut client = server.connect::<R>("/").await;
        let id = client.recv_text().await;
        client.send("again").await;
        assert_eq!(client.recv_text().await, id);
        assert!(ids.insert(id));
    }
}

/// The trait by which values are found is public: code may be generic over contexts.
#[test]
fn contexts_can_be_asked_for_generically() {
    fn db<D: Get<Db, Index>, Index>(data: &D) -> &'static str {
        data.get().0
    }
    let app = App::new().decorate(Db("main")).decorate(0_u8).ws("/", |route| {
        route.open(async |ws| {
            assert_eq!(db(ws.data()), "main");
        })
    });
    app.build().unwrap();
}
