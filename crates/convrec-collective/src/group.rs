use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::GroupError;
use crate::transport::Transport;

/// The numbers that are added up in one go: 16 MiB.
const BUCKET: usize = 1 << 22;

/// Processes that train together, or one process alone, which is the default.
///
/// Clones are the same group. All processes call the same operations in the same order.
#[derive(Clone, Default)]
pub struct ProcessGroup(Option<Arc<Inner>>);

struct Inner {
    transport: Box<dyn Transport>,
    sent: AtomicU64,
    nanoseconds: AtomicU64,
}

/// What a process sent, and how long it took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The bytes that this process sent to others.
    pub bytes_sent: u64,
    /// The time in operations of the group, which includes the waiting for slower processes.
    pub time: Duration,
}

impl ProcessGroup {
    /// The group of this process alone.
    #[must_use]
    pub fn alone() -> Self {
        Self::default()
    }

    /// The group behind a transport.
    #[must_use]
    pub fn new(transport: impl Transport + 'static) -> Self {
        if transport.size() == 1 {
            return Self::alone();
        }
        Self(Some(Arc::new(Inner {
            transport: Box::new(transport),
            sent: AtomicU64::new(0),
            nanoseconds: AtomicU64::new(0),
        })))
    }

    /// The number of this process, from 0 to `size - 1`.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| inner.transport.rank())
    }

    /// The number of processes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(1, |inner| inner.transport.size())
    }

    /// Whether this is process 0, which writes the files and speaks for all.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// The part of `n` things that falls to this process. The parts of all processes are adjacent,
    /// in the order of ranks, and differ by at most one in length.
    #[must_use]
    pub fn share(&self, n: usize) -> Range<usize> {
        part(n, self.rank(), self.size())
    }

    /// What each process gave, in the order of ranks.
    ///
    /// # Errors
    /// [`GroupError`] when another process ended, hangs or stopped.
    pub fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, GroupError> {
        let Some(inner) = &self.0 else {
            return Ok(vec![bytes]);
        };
        let mut all = inner.exchange(&vec![bytes.as_slice(); self.size()])?;
        all[self.rank()] = bytes;
        Ok(all)
    }

    /// What process 0 gave. The bytes of the others are dropped.
    ///
    /// # Errors
    /// [`GroupError`] when another process ended, hangs or stopped.
    pub fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>, GroupError> {
        let Some(inner) = &self.0 else {
            return Ok(bytes);
        };
        if self.is_first() {
            inner.exchange(&vec![bytes.as_slice(); self.size()])?;
            return Ok(bytes);
        }
        let mut all = inner.exchange(&vec![&[][..]; self.size()])?;
        Ok(std::mem::take(&mut all[0]))
    }

    /// Returns when all processes have called it.
    ///
    /// # Errors
    /// [`GroupError`] when another process ended, hangs or stopped.
    pub fn barrier(&self) -> Result<(), GroupError> {
        self.gather(vec![]).map(|_| ())
    }

    /// Whether it is so in any process.
    ///
    /// # Errors
    /// [`GroupError`] when another process ended, hangs or stopped.
    pub fn any(&self, here: bool) -> Result<bool, GroupError> {
        let all = self.gather(vec![here.into()])?;
        Ok(all.iter().any(|bytes| bytes.first() == Some(&1)))
    }

    /// Replaces each number by its sum over all processes, added up in the order of ranks. Every
    /// process gets the same bits. All must give as many numbers.
    ///
    /// # Errors
    /// [`GroupError`] when another process ended, hangs or stopped, or gives other numbers.
    pub fn sum(&self, values: &mut [f32]) -> Result<(), GroupError> {
        let Some(inner) = &self.0 else { return Ok(()) };
        values
            .chunks_mut(BUCKET)
            .try_for_each(|bucket| inner.sum(bucket))
    }

    /// Tells the other processes that this one stops, so that they do not wait for it.
    pub fn abort(&self, reason: &str) {
        if let Some(inner) = &self.0 {
            inner.transport.abort(reason);
        }
    }

    /// What this process has sent so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let Some(inner) = &self.0 else {
            return Traffic::default();
        };
        Traffic {
            bytes_sent: inner.sent.load(Ordering::Relaxed),
            time: Duration::from_nanos(inner.nanoseconds.load(Ordering::Relaxed)),
        }
    }
}

impl Inner {
    fn exchange(&self, to_each: &[&[u8]]) -> Result<Vec<Vec<u8>>, GroupError> {
        let clock = Instant::now();
        let received = self.transport.exchange(to_each);
        let others = to_each.iter().enumerate();
        let sent: usize = others
            .filter(|(rank, _)| *rank != self.transport.rank())
            .map(|(_, bytes)| bytes.len())
            .sum();
        self.sent.fetch_add(sent as u64, Ordering::Relaxed);
        let nanoseconds = clock.elapsed().as_nanos() as u64;
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        received
    }

    /// Each process adds up a part of the bucket, and sends the sums to the others.
    fn sum(&self, bucket: &mut [f32]) -> Result<(), GroupError> {
        let (rank, size) = (self.transport.rank(), self.transport.size());
        let parts: Vec<Range<usize>> = (0..size).map(|r| part(bucket.len(), r, size)).collect();
        let own = parts[rank].clone();
        let to_each: Vec<&[u8]> = parts
            .iter()
            .map(|part| bytemuck::cast_slice(&bucket[part.clone()]))
            .collect();
        let received = self.exchange(&to_each)?;
        let of_rank = |r: usize| -> Result<Vec<f32>, GroupError> {
            if r == rank {
                return Ok(bucket[own.clone()].to_vec());
            }
            self.numbers(r, &received[r], own.len())
        };
        let mut sums = of_rank(0)?;
        for r in 1..size {
            let further = of_rank(r)?;
            for (sum, x) in sums.iter_mut().zip(further) {
                *sum += x;
            }
        }
        let bytes: &[u8] = bytemuck::cast_slice(&sums);
        let received = self.exchange(&vec![bytes; size])?;
        for (r, part) in parts.into_iter().enumerate() {
            if r == rank {
                bucket[part].copy_from_slice(&sums);
            } else {
                let found = self.numbers(r, &received[r], part.len())?;
                bucket[part].copy_from_slice(&found);
            }
        }
        Ok(())
    }

    /// The numbers in the bytes of a process.
    fn numbers(&self, rank: usize, bytes: &[u8], expected: usize) -> Result<Vec<f32>, GroupError> {
        if bytes.len() != expected * size_of::<f32>() {
            return Err(GroupError::OutOfStep {
                rank,
                size: self.transport.size(),
                problem: format!("it sent {} bytes for {expected} numbers", bytes.len()),
            });
        }
        let number = |four: &[u8]| f32::from_ne_bytes(four.try_into().expect("four bytes"));
        Ok(bytes.chunks_exact(4).map(number).collect())
    }
}

/// The part of `n` things that falls to process `rank` of `size`.
fn part(n: usize, rank: usize, size: usize) -> Range<usize> {
    n * rank / size..n * (rank + 1) / size
}

impl PartialEq for ProcessGroup {
    /// Whether both are the same group.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl fmt::Debug for ProcessGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} of {}", self.rank(), self.size())
    }
}
