//! Processes under an implementation of MPI. Its own network is used, such as InfiniBand.

use std::fmt;
use std::sync::Mutex;

use ::mpi::Threading;
use ::mpi::environment::Universe;
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Communicator, CommunicatorCollectives, Destination, Source};

use crate::error::GroupError;
use crate::transport::Transport;

/// A process that `mpirun` or another launcher of MPI started.
///
/// When a process of the group fails, MPI ends all others: the launcher says which one failed.
pub struct Mpi {
    rank: usize,
    size: usize,
    world: Mutex<World>,
}

struct World {
    communicator: SimpleCommunicator,
    /// Dropped last, which ends MPI in this process.
    _universe: Universe,
}

// SAFETY: MPI was initialised for calls from any thread, one at a time (`Threading::Serialized`),
// and the mutex around it lets in one thread at a time.
unsafe impl Send for World {}

impl Mpi {
    /// Joins the processes that the launcher started. A process can do so once.
    ///
    /// # Errors
    /// [`GroupError::Meeting`] when MPI is in use already, or cannot be called from threads.
    pub fn join() -> Result<Self, GroupError> {
        let failed = |problem: &str| GroupError::Meeting {
            rank: 0,
            size: 1,
            problem: problem.into(),
        };
        let begun = ::mpi::initialize_with_threading(Threading::Serialized);
        let (universe, threading) =
            begun.ok_or_else(|| failed("MPI is in use in this process already"))?;
        if threading < Threading::Serialized {
            return Err(failed(
                "this MPI cannot be called from threads; it was built without \
                 MPI_THREAD_SERIALIZED",
            ));
        }
        let communicator = universe.world();
        Ok(Self {
            rank: communicator.rank() as usize,
            size: communicator.size() as usize,
            world: Mutex::new(World {
                communicator,
                _universe: universe,
            }),
        })
    }
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} of {} under MPI", self.rank, self.size)
    }
}

impl Transport for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn exchange(&self, to_each: &[&[u8]]) -> Result<Vec<Vec<u8>>, GroupError> {
        let world = self.world.lock().expect("no thread panics in MPI");
        let world = &world.communicator;
        let lengths: Vec<u64> = to_each.iter().map(|bytes| bytes.len() as u64).collect();
        let mut incoming = vec![0u64; self.size];
        world.all_to_all_into(&lengths[..], &mut incoming[..]);
        incoming[self.rank] = 0;
        let mut received: Vec<Vec<u8>> = incoming.iter().map(|n| vec![0; *n as usize]).collect();
        ::mpi::request::scope(|scope| {
            let process = |rank: usize| world.process_at_rank(rank as i32);
            let mut under_way = Vec::new();
            for (rank, bytes) in received.iter_mut().enumerate() {
                if !bytes.is_empty() {
                    let bytes = &mut bytes[..];
                    under_way.push(process(rank).immediate_receive_into(scope, bytes));
                }
            }
            let mut sent = Vec::new();
            for (rank, bytes) in to_each.iter().enumerate() {
                if rank != self.rank && !bytes.is_empty() {
                    sent.push(process(rank).immediate_send(scope, *bytes));
                }
            }
            for request in under_way {
                request.wait();
            }
            for request in sent {
                request.wait();
            }
        });
        Ok(received)
    }

    /// Ends all processes of the group, this one too. MPI leaves no time to return.
    fn abort(&self, reason: &str) {
        log::error!("error: {reason}");
        let world = self.world.lock();
        world
            .expect("no thread panics in MPI")
            .communicator
            .abort(1);
    }
}
