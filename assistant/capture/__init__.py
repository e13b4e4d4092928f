"""Pictures in: one child process a source, frames out of shared memory, sampled at the stream's rate."""
