//! Opening and closing datagrams.
