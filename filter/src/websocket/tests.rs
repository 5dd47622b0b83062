use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_800_000_000_000;

fn frame(kind: u8, payload: usize) -> Vec<u8> {
    let mut bytes = vec![kind];
    match payload {
        0..=125 => bytes.push(payload as u8),
        126..=0xffff => {
            bytes.push(126);
            bytes.extend((payload as u16).to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend((payload as u64).to_be_bytes());
        }
    }
    // What looks like the head of a frame is none in a payload.
    bytes.extend([0x81, 0x02].into_iter().cycle().take(payload));
    bytes
}

fn live() -> Live {
    Live::new(Lifetime { until: 1_800_000_900, session: None })
}

fn pass(live: &mut Live, chunk: &[u8]) -> Vec<u8> {
    let read = |at: usize, size: usize| Ok::<_, Infallible>(&chunk[at..at + size]);
    match live.pass(chunk.len(), read).unwrap() {
        Passage::Unchanged => chunk.to_vec(),
        Passage::Instead(bytes) => bytes,
    }
}

fn end(live: &mut Live, now: u64) -> Fate {
    live.fate(now, |_| Some(Reject::Revoked))
}

/// What the client gets if the stream becomes due after `before` of these chunks, and whether it is told.
fn closed_after(chunks: &[&[u8]], before: usize) -> (Vec<u8>, bool) {
    let mut live = live();
    let mut seen: Vec<u8> = chunks[..before].iter().flat_map(|chunk| pass(&mut live, chunk)).collect();
    assert_eq!(end(&mut live, NOW), Fate::GoesOn);
    seen.extend(chunks[before..].iter().flat_map(|chunk| pass(&mut live, chunk)));
    let told = matches!(end(&mut live, NOW), Fate::Closes { told: true, .. });
    (seen, told)
}

#[test]
fn a_close_frame_says_why() {
    let frame = close_frame("Token expired");
    assert_eq!(frame, [&[0x88, 15, 0x03, 0xf0][..], b"Token expired"].concat());
    assert_eq!(close_frame(&"x".repeat(200)).len(), 2 + 125);
}

#[test]
fn a_frame_that_is_under_way_comes_to_its_end_first() {
    for payload in [0, 1, 125, 126, 4095, 4096, 65_535, 65_536, 100_000] {
        let frame = frame(0x82, payload);
        let next = self::frame(0x82, 3);
        let close = close_frame("Authentication required");
        for cut in [0, 1, 2, 3, 9, 10, 11, frame.len() - 1, frame.len()] {
            let cut = cut.min(frame.len());
            let (seen, told) = closed_after(&[&frame[..cut], &[&frame[cut..], &next[..]].concat()], 1);
            let whole = if cut == 0 { close.clone() } else { [&frame[..], &close].concat() };
            assert_eq!((seen == whole, told), (true, true), "{payload} cut at {cut}");
        }
    }
}

#[test]
fn a_stream_that_has_said_nothing_may_be_closed_with_its_first_words() {
    let (seen, told) = closed_after(&[&frame(0x81, 5)], 0);
    assert_eq!((seen, told), (close_frame("Authentication required"), true));
}

#[test]
fn an_end_that_has_no_bytes_is_a_place_as_well() {
    let (seen, told) = closed_after(&[&frame(0x81, 5), b""], 1);
    assert!(seen.ends_with(b"Authentication required") && told);
}

#[test]
fn nothing_comes_after_the_close_frame() {
    let chunk = [frame(0x81, 5), frame(0x81, 5)].concat();
    let (seen, told) = closed_after(&[&chunk, &chunk, &chunk], 1);
    assert_eq!((seen, told), ([&chunk[..], &close_frame("Authentication required")].concat(), true));
}

#[test]
fn a_server_that_has_closed_or_sends_no_frames_is_not_interrupted() {
    for last in [close_frame("bye"), vec![0x81, 0x85, 1, 2, 3, 4, 5]] {
        let (seen, told) = closed_after(&[&frame(0x81, 5), &last, &frame(0x81, 5)], 2);
        assert_eq!((seen, told), ([frame(0x81, 5), last, frame(0x81, 5)].concat(), false));
    }
}

#[test]
fn a_stream_that_stays_silent_is_closed_without_a_word_when_patience_ends() {
    let mut live = live();
    assert_eq!(live.fate(NOW, |_| None), Fate::GoesOn);
    assert_eq!(end(&mut live, NOW), Fate::GoesOn);
    assert_eq!(end(&mut live, NOW + PATIENCE - 1), Fate::GoesOn);
    let closes = Fate::Closes { why: Reject::Revoked, told: false };
    assert_eq!(end(&mut live, NOW + PATIENCE), closes);
    assert_eq!(end(&mut live, NOW - 3_600_000), closes, "the clock was set back");
}

#[test]
fn a_frame_without_end_is_not_waited_for() {
    let mut live = live();
    pass(&mut live, &[0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    end(&mut live, NOW);
    for _ in 0..100 {
        assert_eq!(pass(&mut live, &[0; 1000]), [0; 1000]);
    }
    assert_eq!(end(&mut live, NOW + PATIENCE), Fate::Closes { why: Reject::Revoked, told: false });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever the frames and however they are cut: the client gets whole frames, then the close frame, and no more.
    #[test]
    fn the_close_frame_stands_between_two_frames(
        frames in prop::collection::vec((any::<u8>(), prop_oneof![0..130_usize, 65_500..65_600_usize, 0..9000_usize]), 1..8),
        cuts in prop::collection::vec(0..10_000_usize, 0..12),
        before in 0..12_usize,
    ) {
        // No close frames of the server: those have a test of their own.
        let frames: Vec<_> = frames.into_iter().map(|(kind, size)| frame(if kind & 0x0f == 8 { kind | 1 } else { kind }, size)).collect();
        let stream = frames.concat();
        let mut ends = vec![0];
        frames.iter().for_each(|frame| ends.push(ends[ends.len() - 1] + frame.len()));
        let mut at: Vec<_> = cuts.iter().map(|cut| cut * stream.len() / 10_000).chain([0, stream.len()]).collect();
        at.sort_unstable();
        let chunks: Vec<_> = at.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        let (seen, told) = closed_after(&chunks, before.min(chunks.len()));
        if told {
            let close = close_frame("Authentication required");
            let place = seen.len() - close.len();
            prop_assert!(seen.ends_with(&close) && ends.contains(&place) && stream.starts_with(&seen[..place]));
        } else {
            prop_assert_eq!(seen, stream);
        }
    }

    #[test]
    fn any_bytes_are_borne(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        closed_after(&chunks, chunks.len() / 2);
    }
}
