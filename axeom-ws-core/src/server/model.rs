//! The tasks of a server that ends.

use loom::thread;

use super::*;
use crate::model::{block_on, explore};

#[test]
fn the_end_of_the_last_task_is_noticed() {
    explore(3, || {
        let tasks = Arc::new(Tasks::default());
        let threads = [(); 2].map(|()| {
            let place = tasks.lock().insert(AbortHandle::new_pair().0);
            let ended = Ended { place, tasks: Arc::clone(&tasks) };
            thread::spawn(move || drop(ended))
        });
        block_on(tasks.finished());
        assert!(tasks.lock().is_empty());
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
