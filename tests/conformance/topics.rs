//! Topics: who gets what is published.

use axeom_ws::{App, Message, Ws};

use crate::{
    on_every_runtime,
    support::{
        Client, Events, TestRuntime, TestServer,
        frame::{self, Frame},
        until,
    },
};

on_every_runtime!(
    mounted:
    a_published_message_reaches_all_other_subscribers,
    publish_to_all_reaches_the_sender_too,
    topics_are_apart_from_each_other,
    a_subscription_is_there_once,
    a_handle_publishes_from_outside,
    who_does_not_subscribe_may_publish,
    subscriptions_end_with_the_connection,
    close_may_publish_and_is_no_member_any_more,
    what_one_task_publishes_arrives_in_its_order,
    apps_do_not_share_topics,
    routes_with_prefixes_do_not_hear_each_other,
    prefixes_of_groups_come_before_those_inside
);

/// A route whose messages are commands, each answered.
fn app() -> App {
    App::new().ws("/:name", |route| route.message(command))
}

async fn command(ws: Ws, msg: Message) {
    let words: Vec<_> = msg.as_text().unwrap().splitn(3, ' ').collect();
    let answer = match words[..] {
        ["sub", topic] => ws.subscribe(topic).to_string(),
        ["unsub", topic] => ws.unsubscribe(topic).to_string(),
        ["is", topic] => ws.is_subscribed(topic).to_string(),
        ["all"] => {
            let mut all = ws.subscriptions();
            all.sort();
            all.join(",")
        }
        ["pub", topic, text] => ws.publish(topic, text).to_string(),
        ["pub-all", topic, text] => ws.publish_to_all(topic, text).to_string(),
        ["pub-binary", topic, text] => ws.publish(topic, text.as_bytes().to_vec()).to_string(),
        _ => panic!("{words:?}"),
    };
    let _ = ws.send(answer).await;
}

async fn ask<R: TestRuntime>(client: &mut Client<R>, command: &str) -> String {
    client.send(command).await;
    client.recv_text().await
}

/// Clients that subscribe to a topic.
async fn members<R: TestRuntime>(server: &TestServer, topic: &str, n: usize) -> Vec<Client<R>> {
    let mut members = Vec::new();
    for _ in 0..n {
        let mut member = server.connect::<R>("/member").await;
        assert_eq!(ask(&mut member, &format!("sub {topic}")).await, "true");
        members.push(member);
    }
    members
}

async fn a_published_message_reaches_all_other_subscribers<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    let mut members = members::<R>(&server, "news", 5).await;
    assert_eq!(server.handle.subscriber_count("news"), 5);
    let (sender, others) = members.split_first_mut().unwrap();
    assert_eq!(ask(sender, "pub news hello, all").await, "4");
    assert_eq!(ask(sender, "pub-binary news bytes").await, "4");
    for other in others {
        assert_eq!(other.recv_text().await, "hello, all");
        assert_eq!(other.recv().await, b"bytes".to_vec().into());
    }
    // Nothing came to the sender in between.
    assert_eq!(ask(sender, "is news").await, "true");
}

async fn publish_to_all_reaches_the_sender_too<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    let mut members = members::<R>(&server, "news", 2).await;
    members[0].send("pub-all news hello").await;
    assert_eq!(members[0].recv_text().await, "hello");
    assert_eq!(members[0].recv_text().await, "2");
    assert_eq!(members[1].recv_text().await, "hello");
}

async fn topics_are_apart_from_each_other<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    let mut sender = server.connect::<R>("/sender").await;
    let topics = ["a", "A", "a/b", "", "*", "ä"];
    let mut clients = Vec::new();
    for topic in topics {
        clients.push(members::<R>(&server, topic, 1).await.remove(0));
    }
    for topic in topics {
        assert_eq!(server.handle.subscriber_count(topic), 1, "{topic:?}");
        assert_eq!(ask(&mut sender, &format!("pub {topic} to {topic}")).await, "1");
    }
    assert_eq!(ask(&mut sender, "pub nobody x").await, "0");
    for (topic, client) in topics.iter().zip(&mut clients) {
        assert_eq!(client.recv_text().await, format!("to {topic}"));
    }
}

async fn a_subscription_is_there_once<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    let mut sender = server.connect::<R>("/sender").await;
    let mut member = server.connect::<R>("/member").await;
    for (command, answer) in [
        ("is news", "false"),
        ("unsub news", "false"),
        ("all", ""),
        ("sub news", "true"),
        ("sub news", "false"),
        ("is news", "true"),
        ("sub sport", "true"),
        ("all", "news,sport"),
        ("pub news to-nobody-else", "0"),
    ] {
        assert_eq!(ask(&mut member, command).await, answer, "{command}");
    }
    assert_eq!(server.handle.subscriber_count("news"), 1);
    assert_eq!(ask(&mut sender, "pub news once").await, "1");
    assert_eq!(member.recv_text().await, "once");
    for (command, answer) in
        [("unsub news", "true"), ("unsub news", "false"), ("is news", "false"), ("all", "sport")]
    {
        assert_eq!(ask(&mut member, command).await, answer, "{command}");
    }
    assert_eq!(ask(&mut sender, "pub news never").await, "0");
    assert_eq!(server.handle.subscriber_count("news"), 0);
    assert_eq!(server.handle.subscriber_count("sport"), 1);
    // One can come back.
    assert_eq!(ask(&mut member, "sub news").await, "true");
    assert_eq!(ask(&mut sender, "pub news back").await, "1");
    assert_eq!(member.recv_text().await, "back");
}

async fn a_handle_publishes_from_outside<R: TestRuntime>() {
    let app = app();
    let early = app.handle();
    let server = TestServer::start::<R, _>(app).await;
    let mut members = members::<R>(&server, "news", 3).await;
    assert_eq!(early.publish("news", "from the handle"), 3);
    let handle = server.handle.clone();
    std::thread::spawn(move || handle.publish("news", vec![1, 2])).join().unwrap();
    for member in &mut members {
        assert_eq!(member.recv_text().await, "from the handle");
        assert_eq!(member.recv().await, vec![1, 2].into());
    }
    assert_eq!(early.publish("nobody", "x"), 0);
}

async fn who_does_not_subscribe_may_publish<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    let mut members = members::<R>(&server, "news", 2).await;
    let mut sender = server.connect::<R>("/sender").await;
    assert_eq!(ask(&mut sender, "pub news hello").await, "2");
    assert_eq!(ask(&mut sender, "pub-all news again").await, "2");
    for member in &mut members {
        assert_eq!(member.recv_text().await, "hello");
        assert_eq!(member.recv_text().await, "again");
    }
}

async fn subscriptions_end_with_the_connection<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    let mut staying = members::<R>(&server, "news", 1).await.remove(0);
    let mut leaving = members::<R>(&server, "news", 2).await;
    assert_eq!(ask(&mut leaving[0], "sub alone").await, "true");
    // One with a closing handshake, one without.
    leaving.remove(0).close(1000, "").await;
    drop(leaving);
    until(|| server.handle.subscriber_count("news") == 1).await;
    until(|| server.handle.subscriber_count("alone") == 0).await;
    assert_eq!(server.handle.publish("news", "who is here?"), 1);
    assert_eq!(staying.recv_text().await, "who is here?");
}

async fn close_may_publish_and_is_no_member_any_more<R: TestRuntime>() {
    let mut events = Events::new();
    let tell = events.teller();
    let app = App::new().ws("/:name", |route| {
        route
            .open(async |ws: Ws| {
                ws.subscribe("room");
                let _ = ws.send("in").await;
            })
            .close(move |ws: Ws, code, _| {
                let tell = tell.clone();
                async move {
                    let left = format!("{} left: {code}", ws.param("name"));
                    let member = ws.is_subscribed("room");
                    let again = ws.subscribe("room");
                    let reached = (ws.publish("room", &*left), ws.publish_to_all("room", left));
                    tell((member, again, reached, ws.subscriptions()));
                }
            })
    });
    let server = TestServer::start::<R, _>(app).await;
    let mut bob = server.connect::<R>("/bob").await;
    assert_eq!(bob.recv_text().await, "in");
    let mut ada = server.upgraded::<R>("/ada").await;
    assert_eq!(ada.frame().await, Frame::text("in"));
    ada.send(frame::close(4001)).await;
    assert_eq!(ada.close_code().await, 4001);
    assert_eq!(events.next().await, (false, false, (1, 1), vec![]));
    assert_eq!(bob.recv_text().await, "ada left: 4001");
    assert_eq!(bob.recv_text().await, "ada left: 4001");
    assert_eq!(server.handle.subscriber_count("room"), 1);
}

async fn what_one_task_publishes_arrives_in_its_order<R: TestRuntime>() {
    let server = TestServer::start::<R, _>(app()).await;
    let mut members = members::<R>(&server, "news", 3).await;
    for n in 0..200 {
        // Small ones are copied, large ones shared; both keep their place.
        let text = format!("{n}{}", " ".repeat(if n % 3 == 0 { 3000 } else { 0 }));
        assert_eq!(server.handle.publish("news", text), 3);
    }
    for member in &mut members {
        for n in 0..200 {
            assert_eq!(member.recv_text().await.trim_end(), n.to_string());
        }
    }
}

async fn apps_do_not_share_topics<R: TestRuntime>() {
    let first = TestServer::start::<R, _>(app()).await;
    let second = TestServer::start::<R, _>(app()).await;
    let _members = members::<R>(&first, "news", 1).await;
    assert_eq!(second.handle.publish("news", "x"), 0);
    assert_eq!(second.handle.subscriber_count("news"), 0);
}

async fn routes_with_prefixes_do_not_hear_each_other<R: TestRuntime>() {
    let app = App::new()
        .ws("/chat", |route| route.topics("chat/").message(command))
        .ws("/admin", |route| route.topics("admin/").message(command));
    let server = TestServer::start::<R, _>(app).await;
    let mut chat = server.connect::<R>("/chat").await;
    let mut other = server.connect::<R>("/chat").await;
    let mut admin = server.connect::<R>("/admin").await;
    for client in [&mut chat, &mut other, &mut admin] {
        assert_eq!(ask(client, "sub events").await, "true");
        assert_eq!(ask(client, "sub events").await, "false");
        assert_eq!(ask(client, "is events").await, "true");
        assert_eq!(ask(client, "all").await, "events");
    }
    // Nor does the full name of another's topic reach it.
    for name in ["admin/events", "/admin/events", "../admin/events"] {
        assert_eq!(ask(&mut chat, &format!("sub {name}")).await, "true");
        assert_eq!(ask(&mut chat, &format!("pub {name} forged")).await, "0");
    }
    assert_eq!(ask(&mut admin, "pub events secret").await, "0");
    assert_eq!(ask(&mut admin, "pub-all events to-admins").await, "to-admins");
    assert_eq!(admin.recv_text().await, "1");
    assert_eq!(ask(&mut chat, "pub events to-the-chat").await, "1");
    assert_eq!(server.handle.subscriber_count("events"), 0);
    assert_eq!(server.handle.subscriber_count("chat/events"), 2);
    assert_eq!(server.handle.publish("chat/events", "from outside"), 2);
    assert_eq!(server.handle.publish("admin/events", "from above"), 1);
    assert_eq!(admin.recv_text().await, "from above");
    assert_eq!(chat.recv_text().await, "from outside");
    assert_eq!(other.recv_text().await, "to-the-chat");
    assert_eq!(other.recv_text().await, "from outside");
    assert_eq!(ask(&mut chat, "unsub events").await, "true");
    assert_eq!(ask(&mut chat, "is events").await, "false");
    assert_eq!(server.handle.subscriber_count("chat/events"), 1);
}

async fn prefixes_of_groups_come_before_those_inside<R: TestRuntime>() {
    let app = App::new().ws("/none", |route| route.message(command)).group("/a", |group| {
        group
            .ws("/before", |route| route.message(command))
            .topics("replaced/")
            .topics("a/")
            .ws("/route", |route| route.topics("replaced/").topics("r/").message(command))
            .group("/b", |group| {
                group
                    .topics("b/")
                    .ws("/none", |route| route.message(command))
                    .ws("/route", |route| route.message(command).topics("r/"))
            })
    });
    let server = TestServer::start::<R, _>(app).await;
    for (path, full) in [
        ("/none", "x"),
        ("/a/before", "a/x"),
        ("/a/route", "a/r/x"),
        ("/a/b/none", "a/b/x"),
        ("/a/b/route", "a/b/r/x"),
    ] {
        let mut client = server.connect::<R>(path).await;
        assert_eq!(ask(&mut client, "sub x").await, "true");
        assert_eq!(ask(&mut client, "all").await, "x", "{path}");
        assert_eq!(server.handle.publish(full, full), 1, "{path}");
        assert_eq!(client.recv_text().await, full);
    }
}
