//! A line for each request, written by a thread of its own: who reads the lines may be slow.

use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

/// Lines that wait to be written at most.
const WAITING: usize = 1024;

/// At the end of the server, time for the lines that wait.
const LAST: Duration = Duration::from_secs(1);

/// Where lines are sent.
#[derive(Debug)]
pub(crate) struct Log {
    lines: SyncSender<Line>,
    dropped: Counter,
}

enum Line {
    Text(String),
    /// Answered once all before it is written.
    End(Sender<()>),
}

impl Log {
    /// Starts the thread. Lines that find no room are left out and counted in `dropped`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(
        out: impl Write + Send + 'static,
        dropped: Counter,
    ) -> std::io::Result<Self> {
        let (lines, receiver) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("convrec-log".into())
            .spawn(move || write(&receiver, out))?;
        Ok(Self { lines, dropped })
    }

    /// Has a line written, without waiting for it.
    pub(crate) fn line(&self, line: String) {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Line::Text(line)) {
            self.dropped.inc();
        }
    }

    /// Waits for a moment until all lines are written.
    pub(crate) fn finish(&self) {
        let (written, all) = channel();
        if self.lines.try_send(Line::End(written)).is_ok() {
            // Where nobody reads, they are left out.
            let _ = all.recv_timeout(LAST);
        }
    }
}

fn write(lines: &Receiver<Line>, mut out: impl Write) {
    for line in lines {
        match line {
            // Standard error may be closed.
            Line::Text(line) => drop(out.write_all(format!("{line}\n").as_bytes())),
            Line::End(written) => written.send(()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing until it is told to.
    struct Blocked(Receiver<()>, Sender<String>);

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.1.send(text).unwrap_or_default();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_takes_are_counted() {
        let (go, wait) = channel();
        let (written, lines) = channel();
        let dropped = Counter::default();
        let log = Log::start(Blocked(wait, written), dropped.clone()).unwrap();
        // One may be in the writer's hands.
        for n in 0..WAITING + 11 {
            log.line(n.to_string());
        }
        assert!([10, 11].contains(&dropped.get()), "{}", dropped.get());
        // From now on all is taken at once.
        drop(go);
        while lines.recv().unwrap() != "1000\n" {}
        log.finish();
    }
}
