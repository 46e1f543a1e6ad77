//! The metrics, recorded through the `metrics` facade. Without the feature `metrics`, these
//! functions are empty.
//!
//! | metric | kind | labels |
//! | --- | --- | --- |
//! | `axeom_ws_connections` | gauge | |
//! | `axeom_ws_handshakes_total` | counter | `status` |
//! | `axeom_ws_messages_received_total`, `axeom_ws_bytes_received_total` | counter | |
//! | `axeom_ws_messages_sent_total`, `axeom_ws_bytes_sent_total` | counter | |
//! | `axeom_ws_backpressure_total` | counter | |
//! | `axeom_ws_messages_dropped_total` | counter | |
//! | `axeom_ws_panics_total` | counter | |
//! | `axeom_ws_closes_total` | counter | `code`, `3xxx` and `4xxx` for those of apps |

#[cfg(feature = "metrics")]
mod counted {
    use http::StatusCode;
    use metrics::{counter, gauge};

    use crate::close::CloseCode;

    pub(crate) fn handshake(status: StatusCode) {
        counter!("axeom_ws_handshakes_total", "status" => status.as_str().to_owned()).increment(1);
    }

    pub(crate) fn opened() {
        gauge!("axeom_ws_connections").increment(1);
    }

    pub(crate) fn ended() {
        gauge!("axeom_ws_connections").decrement(1);
    }

    pub(crate) fn closed(code: CloseCode) {
        counter!("axeom_ws_closes_total", "code" => label(code)).increment(1);
    }

    /// A peer may send any of 2 000 codes that mean something to an app alone; each would be a
    /// series of its own.
    fn label(code: CloseCode) -> String {
        match code.as_u16() {
            3000..4000 => "3xxx".to_owned(),
            4000..5000 => "4xxx".to_owned(),
            code => code.to_string(),
        }
    }

    pub(crate) fn received(bytes: usize) {
        counter!("axeom_ws_messages_received_total").increment(1);
        counter!("axeom_ws_bytes_received_total").increment(bytes as u64);
    }

    pub(crate) fn sent(bytes: usize) {
        counter!("axeom_ws_messages_sent_total").increment(1);
        counter!("axeom_ws_bytes_sent_total").increment(bytes as u64);
    }

    pub(crate) fn backpressure() {
        counter!("axeom_ws_backpressure_total").increment(1);
    }

    pub(crate) fn dropped() {
        counter!("axeom_ws_messages_dropped_total").increment(1);
    }

    pub(crate) fn panicked() {
        counter!("axeom_ws_panics_total").increment(1);
    }
}

#[cfg(not(feature = "metrics"))]
mod counted {
    use http::StatusCode;

    use crate::close::CloseCode;

    pub(crate) fn handshake(_: StatusCode) {}
    pub(crate) fn opened() {}
    pub(crate) fn ended() {}
    pub(crate) fn closed(_: CloseCode) {}
    pub(crate) fn received(_: usize) {}
    pub(crate) fn sent(_: usize) {}
    pub(crate) fn backpressure() {}
    pub(crate) fn dropped() {}
    pub(crate) fn panicked() {}
}

pub(crate) use counted::*;
