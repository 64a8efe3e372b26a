//! The load generator: measures the latency of schedule requests as a client sees it.
//!
//! A [`generator`] drives one [`client`] a connection, each with its [`workload`]: messages to send, and [`books`] to
//! check every reply against, those to a [`gang`] of demands too. In an open loop the [`plan`] says when each request should leave, and latency counts
//! from then, so that a slow server cannot hide behind requests that were not sent (coordinated omission). A
//! [`measurement`] has the figures of the whole run and of its [`intervals`]; the [`report`], the [`hdr_log`] and the
//! [`page`] with its [`chart`]s show them, and [`objective`]s say what they should be. A [`ramp`] is a run at each of several rates. A
//! [`difference`] tells two results apart, and [`intrinsic`] the machine from the server. [`echo`] is the do-nothing peer, [`peer`] a server of our own to
//! measure.

pub mod books;
pub mod chart;
pub mod client;
pub mod difference;
pub mod echo;
pub mod gang;
pub mod generator;
pub mod hdr_log;
pub mod intervals;
pub mod intrinsic;
pub mod measurement;
pub mod objective;
pub mod page;
pub mod peer;
pub mod plan;
pub mod ramp;
pub mod report;
pub mod workload;
