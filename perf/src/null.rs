//! The null device: returns descriptors and copies nothing. What the generator can do against it is its own limit.
