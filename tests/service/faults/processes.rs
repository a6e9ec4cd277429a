//! Instances are killed, stopped, frozen, and come and go.
