//! What each verb does.
//!
//! ADD and CHECK are strict, DEL, GC and STATUS do what they can: see [`super::config`].

pub mod add;
pub mod check;
pub mod del;
pub mod gc;
pub mod status;
