//! Which route a path leads to, and routes that cannot be.

use axeom_ws::{App, AppError, Options, Ws};

use crate::{
    on_every_runtime,
    support::{TestRuntime, TestServer, chain, request::Request},
};

on_every_runtime!(
    static_goes_before_param_goes_before_tail,
    the_tail_may_be_empty,
    a_parameter_that_is_not_text_is_refused
);

fn says(paths: &[&'static str]) -> App {
    paths.iter().copied().fold(App::new(), |app, path| {
        app.ws(path, |route| {
            route.open(move |ws: Ws| async move {
                let names = ["room", "id", "*"].map(|name| ws.param(name).to_owned());
                let _ = ws.send(format!("{path} {}", names.join(","))).await;
            })
        })
    })
}

async fn leads<R: TestRuntime>(paths: &[&'static str], cases: &[(&str, &str)]) {
    // The order of declaration does not matter.
    let reversed: Vec<_> = paths.iter().rev().copied().collect();
    for paths in [paths, &reversed] {
        let server = TestServer::start::<R, _>(says(paths)).await;
        for (path, expected) in cases {
            if expected.is_empty() {
                let response = server.raw::<R>().await.ask(&Request::get(path)).await;
                assert_eq!(response.status, 404, "{path}");
            } else {
                let said = server.connect::<R>(path).await.recv_text().await;
                assert_eq!(said, *expected, "{path}");
            }
        }
    }
}

async fn static_goes_before_param_goes_before_tail<R: TestRuntime>() {
    let paths = ["/", "/chat/lobby", "/chat/:room", "/chat/:room/:id", "/chat/*", "/:id/x"];
    let cases = [
        ("/", "/ ,,"),
        ("/chat/lobby", "/chat/lobby ,,"),
        ("/chat/lobb", "/chat/:room lobb,,"),
        ("/chat/lobby2", "/chat/:room lobby2,,"),
        ("/chat/lobby/7", "/chat/:room/:id lobby,7,"),
        ("/elsewhere/x", "/:id/x ,elsewhere,"),
        ("/chat/lobby/7/8", "/chat/* ,,lobby/7/8"),
        ("/chat/", "/chat/* ,,"),
        ("/chat", ""),
        ("/elsewhere", ""),
        ("/elsewhere/y", ""),
    ];
    leads::<R>(&paths, &cases).await;
}

async fn the_tail_may_be_empty<R: TestRuntime>() {
    let cases = [("/files/", "/files/* ,,"), ("/files/a/b", "/files/* ,,a/b"), ("/files", "")];
    leads::<R>(&["/files/*"], &cases).await;
    leads::<R>(&["/*"], &[("/", "/* ,,"), ("/a", "/* ,,a")]).await;
}

#[test]
fn routes_that_cannot_be_are_errors_when_the_app_is_built() {
    for (paths, says) in [
        (&["/a", "/a"][..], "same path"),
        (&["/:a", "/:a"], "same path"),
        (&["/*", "/*"], "same path"),
        (&["/:a", "/:b"], "use one name"),
        (&["/x/:a/y", "/x/:b/z"], "use one name"),
        (&["/:a/:a"], "two parameters"),
        (&["/*/x"], "last segment"),
        (&["/:"], "not a parameter"),
        (&["chat"], "starts with /"),
        (&[""], "starts with /"),
    ] {
        match says_error(paths) {
            AppError::Route { path, reason } => {
                assert_eq!(path, *paths.last().unwrap());
                assert!(reason.contains(says), "{paths:?}: {reason}");
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn a_parameter_that_is_not_text_is_refused<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(says(&["/chat/:room", "/files/*"])).await;
    for path in ["/chat/%FF", "/chat/%C3", "/files/a/%ED%A0%80"] {
        let response = server.raw::<R>().await.ask(&Request::get(path)).await;
        assert_eq!(response.status, 400, "{path}");
        assert!(response.body.contains("UTF-8"), "{path}: {}", response.body);
    }
    let response = server.raw::<R>().await.ask(&Request::get("/%FF")).await;
    assert_eq!(response.status, 404);
}

fn says_error(paths: &[&'static str]) -> AppError {
    says(paths).build().unwrap_err()
}

#[test]
fn options_and_subprotocols_that_cannot_be_are_errors_too() {
    for (options, says) in [
        (Options::new().max_message_size(0), "max_message_size"),
        (Options::new().max_fragments(0), "max_fragments"),
        (Options::new().high_water_mark(10).low_water_mark(11), "low_water_mark"),
        (Options::new().high_water_mark(10).send_limit(9), "send_limit"),
        (Options::new().close_timeout(std::time::Duration::ZERO), "close_timeout"),
        (Options::new().allow_origins(["example.com"]), "allow_origins"),
        (Options::new().allow_origins(["https://example.com/"]), "allow_origins"),
    ] {
        let error = App::new().ws("/a", |route| route.options(options)).build().unwrap_err();
        assert!(matches!(&error, AppError::Option { path, .. } if path == "/a"), "{error:?}");
        assert!(chain(&error).contains(says), "{error:?}");
    }
    for protocol in ["", "a b", "a,b", "é"] {
        let error = App::new().ws("/a", |route| route.protocols([protocol])).build().unwrap_err();
        assert!(matches!(error, AppError::Protocol { .. }), "{error:?}");
    }
}
