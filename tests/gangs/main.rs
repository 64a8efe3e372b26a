//! Gangs: hand-made cases, and random ones against every way there is to place them.

mod brute_force;
mod cases;
mod model;
mod random;
