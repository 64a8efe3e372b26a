//! Offline evaluation of policies: the tasks of a trace are placed on the nodes of a trace by the server's own core.
//!
//! [`csv_table`] and [`trace`] read the files; [`cluster`] joins trace and scheduler; [`fill`], [`churn`] and [`queue`]
//! are the tests; [`run`] runs them for every policy and seed; [`report`] and [`plot`] show what came out.

pub mod csv_table;

pub mod trace;

pub mod cluster;

pub mod departures;

pub mod fill;

pub mod churn;

pub mod queue;

pub mod series;

pub mod statistic;

pub mod run;

pub mod report;

pub mod plot;
