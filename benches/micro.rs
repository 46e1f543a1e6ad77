//! The time of each operation, without a kernel or a runtime.
//!
//! ```text
//! cargo bench --bench micro
//! cargo bench --bench micro -- parse
//! ```

mod cases;

use std::time::{Duration, Instant};

use criterion::Criterion;

use self::cases::Work;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for case in cases::all() {
        let mut work = None;
        criterion.bench_function(case.name, |bencher| {
            let work = work.get_or_insert_with(|| (case.setup)());
            bencher.iter_custom(|operations| time(work, operations));
        });
    }
    criterion.final_summary();
}

/// The time that so many operations take, which are done in whole batches.
fn time(work: &mut Work, operations: u64) -> Duration {
    let batch = work.operations as u64;
    let batches = operations.div_ceil(batch);
    let started = Instant::now();
    for _ in 0..batches {
        (work.batch)();
    }
    started.elapsed().mul_f64(operations as f64 / (batches * batch) as f64)
}
