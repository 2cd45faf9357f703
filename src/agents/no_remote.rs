//! In a build without the service: there is no agent that is reached over HTTP.

use std::future::Ready;

use super::{Answer, Delivery, Failure};

/// There is none.
#[derive(Debug)]
pub(super) enum Remote {}

/// There is none.
#[derive(Debug)]
pub(super) enum DeliveryState {}

impl DeliveryState {
    pub(super) fn end(&mut self) {
        match *self {}
    }

    pub(super) fn may_have_run(&self) -> bool {
        match *self {}
    }
}

impl Remote {
    pub(super) fn new_delivery(&self) -> Option<Box<DeliveryState>> {
        match *self {}
    }

    pub(super) fn find_run(&self, _: &Delivery) -> Ready<Option<Result<Option<String>, Failure>>> {
        match *self {}
    }

    pub(super) fn attempt(&self, _: &mut Option<Box<DeliveryState>>, _: &Delivery) -> Ready<Answer> {
        match *self {}
    }
}
