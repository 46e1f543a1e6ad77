//! Models of the sending side of a connection: handles on several threads, and the task that
//! writes.

mod task;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use bytes::Bytes;
use futures::future::poll_immediate;
use loom::thread;

use self::task::Task;
pub(crate) use self::task::Wire;
use crate::{
    close::{CloseCode, CloseFrame},
    error::{Closed, SendStatus},
    link::{Link, NotQueued, Sending},
    loom_support::{FRAME, block_on, explore, explore_all, message},
    options::Options,
    protocol::Outgoing,
};

/// A close frame with a code and no reason, in bytes.
const CLOSE_FRAME: usize = 4;

/// Any message crosses the high-water mark, and congestion ends once everything is written.
fn tight() -> Options {
    Options::new().high_water_mark(1).low_water_mark(0).send_limit(1 << 10)
}

#[test]
fn what_threads_queue_leaves() {
    explore(3, || {
        let mut task = Task::new(&Options::new());
        let senders = [(); 2].map(|()| spawn(&task, |link| try_send(link).unwrap()));
        block_on(task.until(|task| task.wire.written() == 2 * FRAME));
        join(senders);
        task.has_nothing_left();
    });
}

#[test]
fn what_is_queued_while_the_stream_takes_nothing_leaves() {
    explore(3, || {
        let mut task = Task::new(&Options::new());
        task.wire.accept(1);
        let sender = spawn(&task, |link| {
            try_send(link).unwrap();
            try_send(link).unwrap();
        });
        let wire = task.wire.clone();
        let peer = thread::spawn(move || wire.accept(usize::MAX));
        block_on(task.until(|task| task.wire.written() == 2 * FRAME));
        join([sender, peer]);
        task.has_nothing_left();
    });
}

#[test]
fn a_task_is_woken_by_its_last_waker() {
    explore_all(|| {
        let mut task = Task::new(&Options::new());
        assert!(block_on(poll_immediate(task.until(|_| false))).is_none());
        let sender = spawn(&task, |link| try_send(link).is_ok());
        block_on(task.until(|task| task.wire.written() == FRAME));
        join([sender]);
        task.has_nothing_left();
    });
}

#[test]
fn a_ping_of_another_thread_leaves() {
    explore_all(|| {
        let mut task = Task::new(&Options::new());
        let pinger = spawn(&task, |link| assert!(link.ping(&Bytes::new())));
        block_on(task.until(|task| task.wire.written() == 2));
        join([pinger]);
        task.has_nothing_left();
    });
}

#[test]
fn who_waits_for_room_is_told() {
    explore(3, || {
        let mut task = Task::new(&tight());
        let sender = spawn(&task, |link| {
            for _ in 0..3 {
                block_on(send(link)).unwrap();
            }
        });
        block_on(task.until(|task| task.wire.written() == 3 * FRAME));
        join([sender]);
        task.has_nothing_left();
    });
}

#[test]
fn who_waits_for_an_empty_queue_is_told() {
    explore(3, || {
        // One frame fills the queue without crossing the high-water mark.
        let mut task = Task::new(&Options::new().high_water_mark(FRAME).send_limit(FRAME));
        let sender = spawn(&task, |link| {
            for _ in 0..3 {
                block_on(send(link)).unwrap();
            }
        });
        block_on(task.until(|task| task.wire.written() == 3 * FRAME));
        join([sender]);
        task.has_nothing_left();
        assert_eq!(task.drains, 0);
    });
}

#[test]
fn all_who_wait_for_room_are_told() {
    explore(3, || {
        let mut task = Task::new(&tight());
        try_send(task.link()).unwrap();
        let senders = [(); 2].map(|()| spawn(&task, |link| block_on(send(link)).unwrap()));
        block_on(task.until(|task| task.wire.written() == 3 * FRAME));
        join(senders);
        task.has_nothing_left();
    });
}

#[test]
fn a_wait_that_is_given_up_takes_nobodys_turn() {
    explore(3, || {
        let mut task = Task::new(&tight());
        try_send(task.link()).unwrap();
        let impatient = spawn(&task, |link| {
            let message = message();
            let mut sending = Sending::new(link, message);
            block_on(poll_fn(|cx| Poll::Ready(Pin::new(&mut sending).poll(cx).is_ready())))
        });
        let patient = spawn(&task, |link| block_on(send(link)).unwrap());
        block_on(task.until(|task| task.wire.written() >= 2 * FRAME));
        patient.join().unwrap();
        let frames = 2 + usize::from(impatient.join().unwrap());
        block_on(task.until(|task| task.wire.written() == frames * FRAME));
        task.has_nothing_left();
    });
}

#[test]
fn the_turn_of_a_wait_that_is_given_up_passes_on() {
    explore(3, || {
        let mut task = Task::new(&tight());
        try_send(task.link()).unwrap();
        let first = waiting(&task, "1");
        let second = waiting(&task, "2");
        let third = waiting(&task, "3");
        // The first may have been woken before it gives up, or not.
        let giving_up = thread::spawn(move || drop(first));
        let going_on = thread::spawn(move || block_on(futures::future::join(second, third)));
        block_on(task.until(|task| task.wire.written() == 3 * FRAME));
        giving_up.join().unwrap();
        going_on.join().unwrap();
        assert_eq!(task.wire.bytes()[FRAME..], *b"\x81\x012\x81\x013");
        task.has_nothing_left();
    });
}

#[test]
fn who_waits_longer_is_served_first() {
    explore(3, || {
        let mut task = Task::new(&tight());
        try_send(task.link()).unwrap();
        let senders = [waiting(&task, "1"), waiting(&task, "2")];
        let senders = senders.map(|sender| thread::spawn(move || block_on(sender)));
        block_on(task.until(|task| task.wire.written() == 3 * FRAME));
        join(senders);
        assert_eq!(task.wire.bytes()[FRAME..], *b"\x81\x011\x81\x012");
        task.has_nothing_left();
    });
}

#[test]
fn who_waits_to_be_ready_is_told() {
    explore(3, || {
        let mut task = Task::new(&tight());
        try_send(task.link()).unwrap();
        let waiting = spawn(&task, |link| {
            block_on(link.ready()).unwrap();
            try_send(link).unwrap();
        });
        block_on(task.until(|task| task.wire.written() == 2 * FRAME));
        join([waiting]);
        task.has_nothing_left();
    });
}

#[test]
fn all_who_wait_to_be_ready_are_told() {
    explore(2, || {
        let mut task = Task::new(&tight());
        try_send(task.link()).unwrap();
        let waiting = [(); 2].map(|()| spawn(&task, |link| block_on(link.ready()).unwrap()));
        block_on(task.until(|task| task.wire.written() == FRAME));
        join(waiting);
        task.has_nothing_left();
    });
}

/// No task writes here, so only the end of the connection can end the wait.
fn who_waits_is_told_of(end: fn(&Link)) {
    explore(3, move || {
        let task = Task::new(&tight());
        try_send(task.link()).unwrap();
        let sender = spawn(&task, |link| assert_eq!(block_on(send(link)), Err(Closed)));
        let waiting =
            spawn(&task, |link| assert_eq!(block_on(link.ready()), Err(NotQueued::Closed)));
        end(task.link());
        join([sender, waiting]);
    });
}

#[test]
fn who_waits_is_told_of_a_close() {
    who_waits_is_told_of(|link| link.close(CloseFrame::new(CloseCode::NORMAL, "")));
}

#[test]
fn who_waits_is_told_of_the_peers_close() {
    who_waits_is_told_of(|link| link.answer(CloseFrame::new(CloseCode::NORMAL, "")));
}

#[test]
fn who_waits_is_told_of_a_cut() {
    who_waits_is_told_of(Link::cut);
}

#[test]
fn who_waits_is_told_that_the_stream_is_gone() {
    who_waits_is_told_of(Link::end);
}

#[test]
fn each_episode_of_backpressure_ends_with_one_drain() {
    explore(3, || {
        let mut task = Task::new(&tight());
        let sender = spawn(&task, |link| {
            for _ in 0..2 {
                block_on(link.ready()).unwrap();
                assert_eq!(try_send(link), Ok(SendStatus::Backpressure));
            }
        });
        block_on(task.until(|task| task.wire.written() == 2 * FRAME && task.drains == 2));
        join([sender]);
        task.has_nothing_left();
        assert_eq!(task.drains, 2);
    });
}

#[test]
fn backpressure_that_threads_make_together_ends_with_one_drain() {
    explore_all(|| {
        let mut task = Task::new(&Options::new().high_water_mark(2 * FRAME - 1).low_water_mark(1));
        task.wire.accept(0);
        let senders = [(); 2].map(|()| spawn(&task, |link| try_send(link).unwrap()));
        let statuses = senders.map(|sender| sender.join().unwrap());
        let crossed = statuses.iter().filter(|status| **status == SendStatus::Backpressure);
        assert_eq!(crossed.count(), 1);
        let wire = task.wire.clone();
        let peer = thread::spawn(move || wire.accept(usize::MAX));
        block_on(task.until(|task| task.drains == 1));
        join([peer]);
        task.has_nothing_left();
        assert_eq!(task.drains, 1);
    });
}

#[test]
fn a_close_is_seen_and_goes_behind_what_is_queued() {
    explore(3, || {
        let mut task = Task::new(&Options::new());
        let closing = spawn(&task, |link| {
            let queued = try_send(link).is_ok();
            // Nothing is sent afterwards, because that would wake the task as well.
            link.close(CloseFrame::new(CloseCode::NORMAL, ""));
            usize::from(queued)
        });
        let sender = spawn(&task, |link| usize::from(try_send(link).is_ok()));
        block_on(task.to_the_end());
        let frames = closing.join().unwrap() + sender.join().unwrap();
        let written = task.wire.bytes();
        assert_eq!(written.len(), frames * FRAME + CLOSE_FRAME);
        assert_eq!(written[frames * FRAME], 0x88);
        task.has_nothing_left();
    });
}

#[test]
fn a_cut_is_seen() {
    explore(3, || {
        let mut task = Task::new(&Options::new());
        task.wire.accept(1);
        let sender = spawn(&task, |link| try_send(link).is_ok());
        let cutting = spawn(&task, |link| link.cut());
        block_on(task.to_the_end());
        join([sender]);
        join([cutting]);
        task.has_nothing_left();
    });
}

#[test]
fn a_cut_ends_the_wait_for_the_peers_close() {
    explore(3, || {
        let mut task = Task::new(&Options::new());
        task.wire.never_ends();
        let closing = spawn(&task, |link| link.close(CloseFrame::new(CloseCode::NORMAL, "")));
        let cutting = spawn(&task, |link| link.cut());
        block_on(task.to_the_end());
        join([closing, cutting]);
        task.has_nothing_left();
    });
}

#[test]
fn a_connection_that_ends_owes_nothing() {
    explore(2, || {
        let mut task = Task::new(&tight());
        let senders = [(); 2].map(|()| {
            spawn(&task, |link| {
                let _ = try_send(link);
                block_on(link.ready()).is_ok()
            })
        });
        task.wire.send_and_end(&[]);
        block_on(task.to_the_end());
        join(senders);
        task.has_nothing_left();
        assert_eq!(try_send(task.link()), Err(NotQueued::Closed));
    });
}

fn spawn<T: 'static>(task: &Task, run: impl FnOnce(&Link) -> T + 'static) -> thread::JoinHandle<T> {
    let member = Arc::clone(task.member());
    thread::spawn(move || run(member.link()))
}

fn join<const N: usize>(threads: [thread::JoinHandle<impl Sized>; N]) {
    for thread in threads {
        thread.join().unwrap();
    }
}

fn try_send(link: &Link) -> Result<SendStatus, NotQueued> {
    link.try_send(&mut Outgoing::new(&message()))
}

/// A sender that waits for its turn already.
fn waiting(task: &Task, text: &'static str) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let member = Arc::clone(task.member());
    let mut sending =
        Box::pin(async move { Sending::new(member.link(), text.into()).await.unwrap() });
    assert!(block_on(poll_immediate(sending.as_mut())).is_none());
    sending
}

fn send(link: &Link) -> Sending<'_> {
    Sending::new(link, message())
}
