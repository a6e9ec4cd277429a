//! Postgres is away, ends connections, refuses them, has no room.
