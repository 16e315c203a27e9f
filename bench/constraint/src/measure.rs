//! Processor time and memory of this process, and what a run prints.

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use cpu_time::{ProcessTime, ThreadTime};
use serde::Serialize;

/// What making a constraint takes.
#[derive(Serialize)]
pub struct Built {
    event: &'static str,
    /// Of all threads.
    processor_s: f64,
    wall_s: f64,
    /// Resident memory beyond that before.
    held_mb: f64,
    peak_mb: f64,
}

/// What walking takes, in microseconds.
#[derive(Default)]
pub struct Times {
    begins: Vec<f64>,
    steps: Vec<f64>,
}

/// What the walks showed.
#[derive(Serialize)]
pub struct Walked {
    event: &'static str,
    begin_us: f64,
    /// Memory beyond that before the constraint was made.
    walked_mb: f64,
    mean_us: f64,
    p50_us: f64,
    p99_us: f64,
    tokens: f64,
    passes: f64,
    refuses_repeats: bool,
    refuses_seen: bool,
    refuses_short: bool,
}

/// Whether a wrong list is refused.
pub struct Refuses {
    pub repeats: bool,
    pub seen: bool,
    pub short: bool,
}

/// Does `make`, and prints what it took. The second is the memory before, in MB.
pub fn built<T>(
    make: impl FnOnce() -> Result<T, Box<dyn Error>>,
) -> Result<(T, f64), Box<dyn Error>> {
    // SAFETY: it gives free memory back to the system, so that it is not taken for ours.
    unsafe { libc::malloc_trim(0) };
    // Forgets the peak so far.
    fs::write("/proc/self/clear_refs", "5")?;
    let (before, wall, processor) = (memory("VmRSS"), Instant::now(), ProcessTime::now());
    let made = make()?;
    print(&Built {
        event: "built",
        processor_s: processor.elapsed().as_secs_f64(),
        wall_s: wall.elapsed().as_secs_f64(),
        held_mb: held_since(before),
        peak_mb: memory("VmHWM") - before,
    });
    Ok((made, before))
}

fn held_since(before: f64) -> f64 {
    // SAFETY: as above.
    unsafe { libc::malloc_trim(0) };
    memory("VmRSS") - before
}

fn memory(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kb = line.and_then(|line| line.split_whitespace().nth(1));
    kb.and_then(|kb| kb.parse::<f64>().ok()).expect("kB") / 1024.0
}

impl Times {
    pub fn begin<T>(&mut self, work: impl FnOnce() -> T) -> T {
        timed(&mut self.begins, work)
    }

    pub fn step<T>(&mut self, work: impl FnOnce() -> T) -> T {
        timed(&mut self.steps, work)
    }

    /// Prints all figures.
    pub fn print(mut self, lists: usize, passes: usize, before: f64, refuses: &Refuses) {
        let walked_mb = held_since(before);
        self.steps.sort_by(f64::total_cmp);
        let mean = |times: &[f64]| times.iter().sum::<f64>() / times.len() as f64;
        let at = |share: f64| self.steps[((self.steps.len() - 1) as f64 * share).round() as usize];
        print(&Walked {
            event: "walked",
            walked_mb,
            begin_us: mean(&self.begins),
            mean_us: mean(&self.steps),
            p50_us: at(0.5),
            p99_us: at(0.99),
            tokens: (self.steps.len() + self.begins.len()) as f64 / lists as f64,
            passes: passes as f64 / lists as f64,
            refuses_repeats: refuses.repeats,
            refuses_seen: refuses.seen,
            refuses_short: refuses.short,
        });
    }
}

/// The time of this thread alone, as other programs run.
fn timed<T>(times: &mut Vec<f64>, work: impl FnOnce() -> T) -> T {
    let start = ThreadTime::now();
    let done = work();
    let took: Duration = start.elapsed();
    times.push(1e6 * took.as_secs_f64());
    done
}

fn print(line: &impl Serialize) {
    println!("{}", serde_json::to_string(line).expect("numbers"));
}
