//! Processes that train together.
//!
//! A [`ProcessGroup`] has `size` processes. Each has a rank from 0 to `size - 1`. (A rank of a
//! group is no rank of a list.) All processes of a group call the same operations in the same
//! order.
//!
//! A [`Transport`] moves the bytes. It has one operation: every process sends something to every
//! other one. [`Tcp`] connects processes on any number of hosts, and [`threads`] the threads of one
//! process. `Mpi`, with the feature `mpi`, is for processes that `mpirun` started. The group makes
//! everything else of it.
//!
//! ```
//! use convrec_collective::{ProcessGroup, threads};
//!
//! let work = |group: ProcessGroup| {
//!     let mut gradient = [group.rank() as f32, 1.0];
//!     group.sum(&mut gradient)?;
//!     Ok::<_, convrec_collective::GroupError>(gradient)
//! };
//! let workers: Vec<_> = threads(3)
//!     .into_iter()
//!     .map(|group| std::thread::spawn(move || work(group)))
//!     .collect();
//! for worker in workers {
//!     assert_eq!(worker.join().unwrap()?, [0.0 + 1.0 + 2.0, 3.0]);
//! }
//! # Ok::<(), convrec_collective::GroupError>(())
//! ```
//!
//! # Sums
//!
//! [`ProcessGroup::sum`] adds up in the order of ranks: `((x0 + x1) + x2) + ...`. The bits of the
//! result depend on nothing else. Each process adds up a part of the numbers and sends the sums to
//! the others. A process sends and receives about twice the size of the numbers, however many
//! processes there are.
//!
//! # Faults
//!
//! When a process ends, hangs or stops with an error, every operation of the others fails with a
//! [`GroupError`]. The error names the process. A group does not recover from a fault: its
//! processes end, and are started again.
//!
//! # Security
//!
//! Connections are not encrypted, and there is no password. Use a network that nobody else can
//! reach.

mod environment;
mod error;
mod group;
#[cfg(feature = "mpi")]
mod mpi;
mod tcp;
mod threads;
mod transport;

pub use environment::from_environment;
pub use error::GroupError;
pub use group::{ProcessGroup, Traffic};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use tcp::{Tcp, TcpSettings};
pub use threads::threads;
pub use transport::Transport;
