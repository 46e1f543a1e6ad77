//! What attackers do, and what servers of ours keep to meanwhile: one table of both.

mod floods;
mod handlers;
mod messages;
mod openings;
mod readers;
mod siege;

pub(crate) use self::siege::Siege;
use crate::{Result, servers::PER_IP};

pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// In words, with the unit of what it counts as done in italics.
    pub(crate) what: &'static str,
    /// Attacks for a while, and returns how much was done.
    pub(crate) run: fn(&Siege) -> Result<u64>,
    pub(crate) bound: Bound,
}

/// What a server of ours keeps to. Sizes and counts are what is more than before the attack.
/// After an attack, no descriptor may be open that was not before.
#[derive(Debug)]
pub(crate) struct Bound {
    /// The worst echo of a quiet connection, in ms.
    pub(crate) worst: u64,
    /// MiB of memory at the peak, and once the attack is over.
    pub(crate) peak: usize,
    pub(crate) after: usize,
    /// Descriptors at the peak.
    pub(crate) descriptors: usize,
}

const fn bound(worst: u64, peak: usize, after: usize, descriptors: usize) -> Bound {
    Bound { worst, peak, after, descriptors }
}

/// What allocators keep of small things.
const NOISE: usize = 4;

#[rustfmt::skip]
pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        name: "tiny",
        what: "8 peers send 1500 *frames* of 1 byte at once, and a handler computes 1 ms for each",
        run: floods::tiny,
        bound: bound(50, NOISE, NOISE, 8),
    },
    Attack {
        name: "uneven",
        what: "the same, with 50 empty *frames* that cost nothing before each 50 that do",
        run: floods::uneven,
        // Until the clock is looked at, 18 may be handled of each.
        bound: bound(150, NOISE, NOISE, 8),
    },
    Attack {
        name: "pings",
        what: "8 peers send *pings* of 100 bytes without end, and read nothing",
        run: floods::pings,
        bound: bound(50, NOISE, NOISE, 8),
    },
    Attack {
        name: "bombs",
        what: "40 peers send six *messages* of 16 KiB at once that inflate to 16 MiB, to handlers that wait for 1 s after each",
        run: messages::bombs,
        // Of 40 times what is read ahead, which comes in pieces, allocators keep more.
        bound: bound(400, 64, 16, 40),
    },
    Attack {
        name: "readers",
        what: "50 peers read 5 KiB/s of the *messages* of 16 KiB that one publishes, 1000 a second",
        run: readers::room,
        bound: bound(50, 16, NOISE, 51),
    },
    Attack {
        name: "heads",
        what: "2000 *connections* of one address, opened again when they end, send a byte of a head a second; 256 of an address may connect",
        run: openings::heads,
        // The server sends 256 away at a time.
        bound: bound(50, NOISE, NOISE, PER_IP + 256 + 8),
    },
    Attack {
        name: "announced",
        what: "200 *peers* announce a message, half of them of 16 MiB and half of 1 TiB, send a byte, and fall silent",
        run: messages::announced,
        bound: bound(50, NOISE, NOISE, 200),
    },
    Attack {
        name: "trickle",
        what: "200 peers send *fragments* of 64 bytes, 33 a second, of a message that has no end",
        run: messages::trickle,
        bound: bound(50, 16, NOISE, 200),
    },
    Attack {
        name: "churn",
        what: "4 peers connect, upgrade, and close, and begin again: *connections*",
        run: openings::churn,
        bound: bound(50, NOISE, NOISE, 64),
    },
    Attack {
        name: "descriptors",
        what: "200 peers connect to a process with 100 descriptors left; those that were *accepted*",
        run: openings::descriptors,
        bound: bound(50, NOISE, NOISE, 104),
    },
    Attack {
        name: "handlers",
        what: "*connections* whose handlers panic, hang, or keep their `Ws`, 50 of each at a time, ten times",
        run: handlers::misbehave,
        // All that hang have theirs until the close timeout, beside the last 150.
        bound: bound(50, 8, 8, 650),
    },
    Attack {
        name: "pages",
        what: "40 *peers* ask for the same page of 16 MiB, and read nothing",
        run: readers::pages,
        bound: bound(50, NOISE, NOISE, 40),
    },
    Attack {
        name: "large",
        what: "8 peers have *messages* of 16 MiB come back, ten each, or two in the short form",
        run: messages::large,
        bound: bound(100, 300, NOISE, 8),
    },
];

impl Attack {
    pub(crate) fn find(name: &str) -> Result<&'static Self> {
        ATTACKS.iter().find(|attack| attack.name == name).ok_or_else(|| {
            let names: Vec<_> = ATTACKS.iter().map(|attack| attack.name).collect();
            format!("no attack {name}; there are {}", names.join(", ")).into()
        })
    }
}

impl std::fmt::Debug for Attack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
