//! What the fuzz targets check: each has one `check`, which takes any bytes and panics where the program does not do what
//! it should. The tests of the program run the corpus through the same functions.

pub mod connection;
pub mod frames;
pub mod replies;
pub mod requests;
pub mod scheduler;

mod checked;

// The naive model of the tests.
#[allow(dead_code)]
#[path = "../../tests/model/cluster.rs"]
mod cluster;
#[allow(dead_code)]
#[path = "../../tests/model/world.rs"]
mod world;
