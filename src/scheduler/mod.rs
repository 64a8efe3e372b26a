//! The scheduler: typed values in, decisions out. Nothing here knows bytes or sockets.
//!
//! A [`view`] places demands on one table of nodes: the [`node_table`] knows what each node has, as
//! [`amount`]s in [`cells`] under the ids of [`resource_names`], and a [`policy`] ranks the nodes that fit.
//! The [`rank_cache`] keeps the ranks, and follows the [`changes`] of nodes. A [`gang`] of demands is placed as a whole.

pub mod amount;
pub mod cells;
pub mod changes;
pub mod gang;
pub mod ledger;
pub mod node_table;
pub mod policy;
pub mod profile;
pub mod rank;
pub mod rank_cache;
pub mod rank_tree;
pub mod resource_names;
pub mod room;
pub mod selection;
pub mod shared_view;
pub mod units;
pub mod view;
