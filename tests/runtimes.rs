//! Several runtimes in one process, with one app between them.
#![cfg(all(feature = "tokio", feature = "async-std", feature = "smol"))]

mod support;

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use async_tungstenite::tungstenite::client::IntoClientRequest;
use axeom_ws::{App, Service, Ws};
use futures::{channel::oneshot, executor::block_on};

use self::support::{
    Client, Events, TestRuntime, run,
    runtimes::{AsyncStd, Smol, Tokio},
    until,
};

/// Counts what all its connections say, and hands it on to all of them.
fn room() -> (Service, Events<String>) {
    let mut events = Events::new();
    let (opened, closed) = (events.teller(), events.teller());
    let said = Arc::new(AtomicUsize::new(0));
    let app = App::new().decorate(said).ws("/:runtime", |route| {
        route
            .open(move |ws: Ws<_>| {
                ws.subscribe("room");
                opened(format!("{} came", ws.param("runtime")));
                async {}
            })
            .message(async |ws, msg| {
                let said: &Arc<AtomicUsize> = ws.get();
                let n = said.fetch_add(1, Ordering::SeqCst);
                ws.publish_to_all("room", format!("{n} {}: {msg}", ws.param("runtime")));
            })
            .close(move |ws: Ws<_>, code, _| {
                closed(format!("{} left: {code}", ws.param("runtime")));
                async {}
            })
    });
    events.rest();
    (app.build().unwrap(), events)
}

/// Serves one connection on this runtime, in a thread of its own.
fn serve<R: TestRuntime>(service: &Service) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let service = service.clone();
    (addr, thread::spawn(|| run::<R>(R::serve_accepted(service, listener))))
}

async fn connect<R: TestRuntime>(addr: SocketAddr, path: &str) -> Client<R> {
    let request = format!("ws://{addr}{path}").into_client_request().unwrap();
    Client(R::connect(request).await.unwrap().0)
}

#[test]
fn one_service_is_served_by_all_runtimes_at_once() {
    let (service, mut events) = room();
    let (tokio, on_tokio) = serve::<Tokio>(&service);
    let (async_std, on_async_std) = serve::<AsyncStd>(&service);
    let (smol, on_smol) = serve::<Smol>(&service);
    let handle = service.handle();
    // Clients on one runtime, servers on all.
    run::<Smol>(async move {
        let mut clients = Vec::new();
        for (addr, name) in [(tokio, "tokio"), (async_std, "async-std"), (smol, "smol")] {
            clients.push((connect::<Smol>(addr, &format!("/{name}")).await, name));
            assert_eq!(events.next().await, format!("{name} came"));
        }
        assert_eq!(handle.connections(), 3);
        assert_eq!(handle.subscriber_count("room"), 3);
        // Each says something, and all hear it.
        for n in 0..3 {
            let name = clients[n].1;
            clients[n].0.send("hello").await;
            for (client, _) in &mut clients {
                assert_eq!(client.recv_text().await, format!("{n} {name}: hello"));
            }
        }
        assert_eq!(handle.publish("room", "from outside"), 3);
        for (client, _) in &mut clients {
            assert_eq!(client.recv_text().await, "from outside");
        }
        // One leaves; the others are told of the end of the app.
        let (mut tokio, _) = clients.remove(0);
        tokio.close(1000, "").await;
        assert_eq!(events.next().await, "tokio left: 1000");
        until(|| handle.connections() == 2).await;
        handle.shutdown();
        for (client, _) in &mut clients {
            assert_eq!(client.closed().await.unwrap().0, 1001);
        }
        let mut left = [events.next().await, events.next().await];
        left.sort();
        assert_eq!(left, ["async-std left: 1001", "smol left: 1001"]);
    });
    for served in [on_tokio, on_async_std, on_smol] {
        served.join().unwrap();
    }
    assert_eq!(service.handle().connections(), 0);
}

#[test]
fn a_handle_is_used_on_another_runtime_than_its_connection() {
    let mut events = Events::new();
    let tell = events.teller();
    let app = App::new().ws("/", |route| {
        route.open(move |ws: Ws| {
            tell(ws);
            async {}
        })
    });
    let service = app.build().unwrap();
    let (addr, served) = serve::<Tokio>(&service);
    let (sent, was_sent) = oneshot::channel();
    let client = thread::spawn(move || {
        run::<AsyncStd>(async move {
            let mut client = connect::<AsyncStd>(addr, "/").await;
            for n in 0..100 {
                assert_eq!(client.recv_text().await, n.to_string());
            }
            was_sent.await.unwrap();
            assert_eq!(client.closed().await, Some((4000, "done".to_owned())));
        });
    });
    run::<Smol>(async move {
        let ws = events.next().await;
        for n in 0..100 {
            ws.send(n.to_string()).await.unwrap();
        }
        ws.close(4000, "done");
        sent.send(()).unwrap();
    });
    client.join().unwrap();
    served.join().unwrap();
    // The handshake itself needs no runtime at all.
    let response = block_on(support::handshake(
        &service,
        async_tungstenite::tungstenite::http::Request::new(()),
        support::NOWHERE,
    ));
    assert_eq!(response.map(drop).unwrap_err().status(), 400);
}
