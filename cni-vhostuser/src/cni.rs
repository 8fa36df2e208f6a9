//! The CNI plugin: one process a call, CNI on one side, gRPC on the other.

pub mod device_info;
pub mod failure;
pub mod ipam;
pub mod result;
pub mod stub;
