//! Every form, every border.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;

const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJnYXRld2F5In0.q83vASNFZ4mrze8BI0Vnia_N7wEjRWeJ-83vASNFZ4k";
const REFRESH: &str = "r/7+Tq-92_kLm0aZ";

fn needles() -> Needles {
    let needles = Needles::default();
    needles.rotate(&Secret::new(TOKEN));
    needles.rotate(&Secret::new(REFRESH));
    needles
}

fn wrapped(text: &str) -> String {
    let encoded = STANDARD.encode(text);
    let lines = encoded.as_bytes().chunks(76);
    lines
        .map(|line| format!("{}\n", String::from_utf8_lossy(line)))
        .collect()
}

/// Every way in which a job may print it, with text around.
fn printed(secret: &str) -> Vec<String> {
    let percent: String = secret
        .bytes()
        .map(|byte| match byte {
            b'/' => "%2F".to_owned(),
            b'+' => "%2B".to_owned(),
            plain => char::from(plain).to_string(),
        })
        .collect();
    let mut texts = vec![format!("TOKEN={secret}\nx"), format!("a={percent}&b=c")];
    for lead in ["", "1", "12", "{\"accessToken\": \""] {
        let text = format!("{lead}{secret}\"}} and more behind it");
        texts.extend([STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text), wrapped(&text)]);
    }
    texts
}

/// Whether as much of the secret as half of it stands in the text, in any of the ways.
fn shows(text: &str, secret: &str) -> bool {
    let text = text.replace('\n', "");
    forms::of(secret).iter().any(|form| {
        let form = String::from_utf8(form.bytes.clone()).unwrap();
        let (first, last) = form.split_at(form.len() / 2);
        text.contains(first) || text.contains(last)
    })
}

#[test]
fn every_form_is_found_and_the_rest_stays() {
    for secret in [TOKEN, REFRESH] {
        for text in printed(secret) {
            let clean = needles().text(&text).into_owned();
            assert!(!shows(&clean, secret), "{clean}");
            assert_eq!(clean.matches(MARKER).count(), 1, "{text} became {clean}");
        }
    }
    assert_eq!(
        needles().text(&format!("a {TOKEN} b {REFRESH}")),
        "a [REDACTED] b [REDACTED]"
    );
}

#[test]
fn a_clean_text_is_not_copied() {
    let text = "eyJ token TOKEN= \n".repeat(1_000);
    assert!(matches!(needles().text(&text), Cow::Borrowed(_)));
    assert_eq!(needles().bytes(b""), None);
    assert_eq!(Needles::default().bytes(TOKEN.as_bytes()), None);
}

#[test]
fn half_a_secret_at_a_cut_is_taken_out() {
    let needles = needles();
    for at in 5..TOKEN.len() {
        let (first, last) = TOKEN.split_at(at);
        for (text, clean) in [
            (format!("x {first}"), "x [REDACTED]".to_owned()),
            (format!("x {first}..."), "x [REDACTED]...".to_owned()),
            (
                format!("x {first}\n[7 bytes left out]\ny"),
                "x [REDACTED]\n[7 bytes left out]\ny".to_owned(),
            ),
        ] {
            assert_eq!(needles.text(&text), clean, "{at}");
        }
        if last.len() >= 5 {
            assert_eq!(needles.text(&format!("{last} x")), "[REDACTED] x", "{at}");
            let text = format!("x\n[7 bytes left out]\n{last} y");
            assert_eq!(needles.text(&text), "x\n[7 bytes left out]\n[REDACTED] y", "{at}");
        }
    }
}

#[test]
fn short_secrets_are_none_and_old_ones_are_forgotten_but_lasting_ones_stay() {
    let needles = Needles::default();
    needles.hold(&Secret::new("short"));
    needles.hold(&Secret::new("lasting-secret"));
    for number in 0..=ROTATED {
        needles.rotate(&Secret::new(format!("rotated-secret-{number}")));
    }
    assert_eq!(needles.text("short lasting-secret"), "short [REDACTED]");
    assert_eq!(needles.text("rotated-secret-0"), "rotated-secret-0");
    assert_eq!(needles.text("rotated-secret-1"), MARKER);
}

fn streamed<'a>(needles: &Needles, pieces: impl Iterator<Item = &'a [u8]>) -> String {
    let mut stream = Stream::new(needles.clone());
    let mut all: Vec<u8> = pieces.flat_map(|piece| stream.push(piece)).collect();
    all.extend(stream.finish());
    String::from_utf8(all).unwrap()
}

#[test]
fn a_secret_over_a_border_is_found_wherever_the_border_is() {
    let needles = needles();
    for secret in [TOKEN, REFRESH] {
        for text in printed(secret) {
            let whole = needles.text(&text).into_owned();
            for at in 0..text.len() {
                let (first, last) = text.as_bytes().split_at(at);
                let clean = streamed(&needles, [first, last].into_iter());
                // Less than a half, and the end of a line in it, may have gone on before the rest came.
                let spared = clean.len().saturating_sub(whole.len());
                assert!(!shows(&clean, secret) && spared < 7, "{at}: {clean}");
            }
        }
    }
}

#[test]
fn only_the_beginning_of_a_secret_is_held_back() {
    let mut stream = Stream::new(needles());
    for key in ["e", "y", "J", "h", "x"] {
        assert_eq!(stream.push(key.as_bytes()), key.as_bytes());
    }
    assert_eq!(stream.push(b" eyJhb"), b" ");
    assert_eq!(stream.push(b"X"), b"eyJhbX");
    assert_eq!(stream.push(&TOKEN.as_bytes()[..40]), b"");
    assert_eq!(stream.finish(), MARKER.as_bytes());
}

/// The pieces of a text, of these sizes over and over.
fn pieces<'a>(text: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = text;
    sizes.iter().cycle().map_while(move |size| {
        let (piece, more) = rest.split_at(rest.len().min(*size));
        rest = more;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Whether the two are the same but for less than half a secret, and the end of a line in it, before a marker: that
/// much may have gone on before the rest came.
fn same_but_for_beginnings(clean: &str, whole: &str) -> bool {
    let (clean, whole): (Vec<_>, Vec<_>) = (clean.split(MARKER).collect(), whole.split(MARKER).collect());
    let begins = |(part, wanted): (&&str, &&str)| part.strip_prefix(*wanted).is_some_and(|more| more.len() <= 5);
    clean.len() == whole.len() && clean.last() == whole.last() && clean.iter().zip(&whole).all(begins)
}

proptest! {
    /// Whatever the borders: a text becomes what it becomes in one piece.
    #[test]
    fn a_stream_in_pieces_is_the_stream_in_one(
        parts in prop::collection::vec(("[ -~\n]{0,20}", 0..2_usize, 0..8_usize, 0..90_usize), 0..5),
        sizes in prop::collection::vec(1..40_usize, 1..40),
    ) {
        let mut text = String::new();
        for (noise, which, way, miss) in parts {
            let secret = [TOKEN, REFRESH][which];
            let (printed, (first, last)) = (printed(secret), secret.split_at(miss % secret.len()));
            text.push_str(&noise);
            match way {
                // A byte of it is another one.
                6 => text.push_str(&format!("{first}!{}", last.get(1..).unwrap_or_default())),
                7 => text.push_str(first),
                way => text.push_str(&printed[way % printed.len()]),
            }
        }
        let whole = streamed(&needles(), std::iter::once(text.as_bytes()));
        let clean = streamed(&needles(), pieces(text.as_bytes(), &sizes));
        prop_assert!(same_but_for_beginnings(&clean, &whole), "{text:?} became {clean:?}, not {whole:?}");
    }

    /// However it is cut, a stream without secrets comes through, and one with a secret comes through without it.
    #[test]
    fn borders_change_nothing(noise in "[ -~\n]{0,60}", which in 0..2usize, sizes in prop::collection::vec(1..40usize, 1..40)) {
        let secret = [TOKEN, REFRESH][which];
        for text in printed(secret).into_iter().map(|text| format!("{noise}{text}{noise}")) {
            let clean = streamed(&needles(), pieces(text.as_bytes(), &sizes));
            prop_assert!(!shows(&clean, secret), "{}", clean);
        }
        let mut plain = Stream::new(Needles::default());
        let mut passed = plain.push(noise.as_bytes());
        passed.extend(plain.finish());
        prop_assert_eq!(passed, noise.into_bytes());
    }
}
