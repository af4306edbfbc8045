//! How far behind a replica is at most: worked examples, and the property that matters, that
//! it is never said to be fresher than it is.

use std::time::{Duration, Instant};

use communal_kit::replicas::staleness::{
    LONGEST, Origin, Position, PositionHistory, ReplayState, actual_ms, read_limit,
};
use communal_proto::contract::v1::FaultKind;
use proptest::prelude::*;

const PAGE: u64 = 8_192;
const SEGMENT: u64 = 16 * 1024 * 1024;

fn at(position: u64) -> Position {
    Position::replayed(position)
}

fn origin(timeline: i32) -> Origin {
    Origin { system: 7, timeline, database: "billing".into() }
}

fn standby(timeline: i32, replayed: u64) -> ReplayState {
    ReplayState { standby: true, origin: origin(timeline), replayed: Some(at(replayed)) }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The primary is at 100 at 0 s, at 200 at 1 s and 2 s, at 300 at 3 s.
fn history(began: Instant) -> PositionHistory {
    let mut history = PositionHistory::default();
    for (second, position) in [(0, 100), (1, 200), (2, 200), (3, 300)] {
        history.note(origin(1), at(position), began + ms(second * 1_000));
    }
    history
}

#[test]
fn the_newest_note_that_a_replica_has_reached_is_as_old_as_it_is_behind() {
    let began = Instant::now();
    let history = history(began);
    for (replayed, expected) in [
        (99, None),
        (100, Some(4_000)),
        (199, Some(4_000)),
        // Nothing was written between the second and the third note.
        (200, Some(2_000)),
        (299, Some(2_000)),
        (300, Some(1_000)),
        (u64::MAX, Some(1_000)),
    ] {
        let behind = history.behind(&standby(1, replayed), began + ms(4_000));
        assert_eq!(behind, expected.map(ms), "replayed up to {replayed}");
    }
    assert_eq!(history.least(began + ms(4_000)), Some(ms(1_000)));
    assert_eq!(history.behind(&standby(1, 300), began + ms(9_000)), Some(ms(6_000)), "grows while nothing is noted");
}

#[test]
fn who_cannot_be_compared_is_not_compared() {
    let began = Instant::now();
    let history = history(began);
    let fresh = standby(1, 300);
    assert!(history.behind(&fresh, began + ms(4_000)).is_some());
    let others = [
        ("promoted", ReplayState { standby: false, ..fresh.clone() }),
        ("another system", ReplayState { origin: Origin { system: 8, ..origin(1) }, ..fresh.clone() }),
        (
            "another database",
            ReplayState { origin: Origin { database: "community".into(), ..origin(1) }, ..fresh.clone() },
        ),
        ("an older timeline", ReplayState { origin: origin(0), ..fresh.clone() }),
        ("a newer timeline", ReplayState { origin: origin(2), ..fresh.clone() }),
    ];
    for (what, replay_state) in others {
        assert_eq!(history.behind(&replay_state, began + ms(4_000)), None, "{what}");
        assert!(replay_state.defect(&origin(1)).is_some(), "{what}");
    }
    let nothing = ReplayState { replayed: None, ..fresh.clone() };
    assert_eq!(history.behind(&nothing, began + ms(4_000)), None);
    assert_eq!(fresh.defect(&origin(1)), None);
    assert_eq!(PositionHistory::default().behind(&fresh, began), None, "nothing is known of the primary");
    assert_eq!(PositionHistory::default().least(began), None);
}

#[test]
fn a_promotion_and_a_log_that_became_shorter_end_what_was_known() {
    let began = Instant::now();
    let mut promoted = history(began);
    // 200 to 300 of the old timeline are lost; this replica has them.
    promoted.note(origin(2), at(250), began + ms(4_000));
    assert_eq!(promoted.behind(&standby(1, 300), began + ms(5_000)), None);
    assert_eq!(promoted.behind(&standby(2, 249), began + ms(5_000)), None);
    assert_eq!(promoted.behind(&standby(2, 250), began + ms(5_000)), Some(ms(1_000)));

    let mut crashed = history(began);
    crashed.note(origin(1), at(299), began + ms(4_000));
    assert_eq!(crashed.len(), 1);
    assert_eq!(crashed.behind(&standby(1, 298), began + ms(5_000)), None);

    let mut late = history(began);
    late.note(origin(1), at(400), began + ms(2_500));
    assert_eq!(late.behind(&standby(1, 400), began + ms(4_000)), Some(ms(1_000)), "an older instant says nothing");
}

#[test]
fn behind_the_header_of_a_page_nothing_was_written_to_it() {
    for (next, expected) in [
        (SEGMENT + 40, SEGMENT),
        (SEGMENT + 24, SEGMENT),
        (SEGMENT, SEGMENT),
        (SEGMENT + 48, SEGMENT + 48),
        (SEGMENT + PAGE + 24, SEGMENT + PAGE),
        (SEGMENT + PAGE + 32, SEGMENT + PAGE + 32),
        (SEGMENT + PAGE + 40, SEGMENT + PAGE + 40),
        (SEGMENT + PAGE - 8, SEGMENT + PAGE - 8),
    ] {
        assert_eq!(Position::written(next, PAGE, SEGMENT), at(expected), "{next}");
    }
}

#[test]
fn a_limit_is_a_whole_number_of_milliseconds_from_one_to_a_day() {
    for (text, expected) in [("1", 1), ("250", 250), ("086400", 86_400), ("86400000", 86_400_000)] {
        assert_eq!(read_limit(text).unwrap(), ms(expected));
    }
    for text in ["", " ", "-1", "+1", "1.5", "1e3", "1s", "0x10", "一", "1 "] {
        let fault = read_limit(text).unwrap_err();
        assert_eq!(
            (fault.field.to_string().as_str(), fault.kind),
            ("x-max-staleness-ms", FaultKind::Format),
            "{text:?}"
        );
    }
    for text in ["0", "000", "86400001", "18446744073709551616"] {
        let fault = read_limit(text).unwrap_err();
        assert_eq!(
            (fault.field.to_string().as_str(), fault.kind),
            ("x-max-staleness-ms", FaultKind::Range),
            "{text:?}"
        );
    }
}

#[test]
fn what_is_actual_ms_is_rounded_up_and_never_that_of_the_primary() {
    for (nanoseconds, expected) in [(0, 1), (1, 1), (1_000_000, 1), (1_000_001, 2), (86_400_000_000_000, 86_400_000)] {
        assert_eq!(actual_ms(Duration::from_nanos(nanoseconds)), expected);
    }
}

#[test]
fn two_hours_of_notes_are_a_few_hundred_and_a_day_is_the_end() {
    let began = Instant::now();
    let mut history = PositionHistory::default();
    for note in 0..28_800 {
        history.note(origin(1), at(note), began + ms(note * 250));
    }
    assert!((100..700).contains(&history.len()), "{} notes", history.len());
    let end = began + ms(28_799 * 250);
    assert!(history.behind(&standby(1, 0), end).is_some(), "the oldest is still there");
    history.note(origin(1), at(30_000), began + LONGEST + ms(1));
    assert_eq!(history.behind(&standby(1, 0), began + LONGEST + ms(1)), None);
}

/// What happens to a primary, to the replica and to the notes, in any order.
#[derive(Clone, Debug)]
enum Event {
    Pass(u64),
    Commit(u64),
    /// The primary is asked; what it answers is noted later.
    Ask,
    Answer,
    /// The replica follows the primary up to a share of its log.
    Replay(u8),
    /// Another server takes over; the end of the log is lost.
    Promote(u64),
    /// The primary comes back without the end of its log.
    Crash(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0_u64..2_000).prop_map(Event::Pass),
        4 => (1_u64..300).prop_map(Event::Commit),
        4 => Just(Event::Ask),
        4 => Just(Event::Answer),
        4 => (0_u8..=100).prop_map(Event::Replay),
        1 => (0_u64..400).prop_map(Event::Promote),
        1 => (0_u64..400).prop_map(Event::Crash),
    ]
}

/// A primary and a replica whose states are known.
#[derive(Debug)]
struct Model {
    now: u64,
    timeline: i32,
    log: u64,
    /// Acknowledged when, and where it ends; what a takeover lost is not in it.
    commits: Vec<(u64, u64)>,
    /// The timeline that the replica follows, how far it has replayed, and how much of that the
    /// primary has as well: less than all where it took more than a takeover left.
    replica: (i32, u64),
    common: u64,
    asked: Option<u64>,
}

impl Model {
    fn new() -> Self {
        Self { now: 0, timeline: 1, log: 1_000, commits: vec![], replica: (1, 1_000), common: u64::MAX, asked: None }
    }

    fn has_diverged(&self) -> bool {
        self.common != u64::MAX
    }

    fn lose(&mut self, bytes: u64) {
        self.log = self.log.saturating_sub(bytes);
        let left = self.log;
        self.commits.retain(|(_, end)| *end <= left);
        if self.has_diverged() || self.replica.1 > left {
            self.common = self.common.min(left);
        }
        // Who was asked is gone.
        self.asked = None;
    }

    fn happens(&mut self, event: &Event, history: &mut PositionHistory, began: Instant) {
        match event {
            Event::Pass(milliseconds) => self.now += milliseconds,
            Event::Commit(bytes) => {
                self.log += bytes;
                self.commits.push((self.now, self.log));
            }
            Event::Ask => self.asked = Some(self.now),
            Event::Answer => {
                if let Some(asked) = self.asked.take() {
                    history.note(origin(self.timeline), at(self.log), began + ms(asked));
                }
            }
            Event::Replay(percent) => {
                if !self.has_diverged() {
                    let more = (self.log - self.replica.1) * u64::from(*percent) / 100;
                    self.replica = (self.timeline, self.replica.1 + more);
                }
            }
            Event::Promote(lost) => {
                self.lose(*lost);
                self.timeline += 1;
                // A takeover writes a record of its own before anything else.
                self.log += 8;
            }
            Event::Crash(lost) => {
                // What was sent to a replica had been written to disk before.
                let most = if self.has_diverged() { *lost } else { self.log - self.replica.1 };
                self.lose(most.min(*lost));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever was acknowledged before the bound, and is not lost for everybody, is there.
    #[test]
    fn a_replica_is_never_said_to_be_fresher_than_it_is(
        events in prop::collection::vec(event(), 1..120),
        says_an_older_timeline in any::<bool>(),
    ) {
        let began = Instant::now();
        let mut history = PositionHistory::default();
        let mut model = Model::new();
        for event in events {
            model.happens(&event, &mut history, began);
            let (timeline, replayed) = model.replica;
            let late = says_an_older_timeline && timeline == model.timeline && timeline > 1;
            let said = if late { timeline - 1 } else { timeline };
            let Some(behind) = history.behind(&standby(said, replayed), began + ms(model.now)) else { continue };
            let bound = model.now - u64::try_from(behind.as_millis()).unwrap();
            for (acknowledged, end) in &model.commits {
                let there = *end <= replayed.min(model.common);
                prop_assert!(there || *acknowledged >= bound, "said to be {behind:?} behind: {model:?}");
            }
        }
    }

    /// Thinning out makes a bound larger by its 32nd part at most, and never smaller.
    #[test]
    fn forgetting_costs_a_share_of_the_bound(
        steps in prop::collection::vec((1_u64..20_000, 0_u64..50), 1..400),
        replayed in 0_u64..10_000,
    ) {
        let began = Instant::now();
        let mut history = PositionHistory::default();
        let (mut now, mut position, mut all) = (0, 0, Vec::new());
        for (pause, written) in steps {
            now += pause;
            position += written;
            history.note(origin(1), at(position), began + ms(now));
            all.push((now, position));
        }
        let exact = all.iter().rev().find(|(_, position)| *position <= replayed).map(|(noted, _)| now - noted);
        let behind = history.behind(&standby(1, replayed), began + ms(now)).map(|b| u64::try_from(b.as_millis()).unwrap());
        prop_assert_eq!(exact.is_some(), behind.is_some());
        if let (Some(exact), Some(behind)) = (exact, behind) {
            prop_assert!(exact <= behind && behind * 32 <= exact * 33, "{} for {}", behind, exact);
        }
    }
}
