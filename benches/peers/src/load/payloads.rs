/// Bytes without a pattern, the same each time.
pub(crate) fn binary(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(step).collect()
}

/// Text whose characters are one to four bytes long.
pub(crate) fn text(len: usize) -> Vec<u8> {
    let sentence = "Grüße, κόσμε! Привет, 世界 🌍 – ça va? ";
    let mut text = sentence.repeat(len / sentence.len());
    text.extend(std::iter::repeat_n('x', len - text.len()));
    text.into()
}

/// JSON as an application sends it: the same keys, other values.
pub(crate) fn json(len: usize) -> Vec<u8> {
    let names = ["Ada", "Grace", "Edsger", "Barbara", "Donald", "Frances", "Tony", "Radia"];
    let words = ["latency", "window", "frame", "socket", "reactor", "cork", "drain", "topic"];
    let noise = binary(len);
    let pick = |n: usize, of: &[&'static str]| of[noise[n] as usize % of.len()];
    let mut text = String::from("[");
    for n in 0.. {
        let at = n * 4;
        let item = format!(
            r#"{{"id":{},"user":"{}","topic":"{}","score":{}.{:02},"online":{}}},"#,
            1000 + 37 * n + noise[at] as usize,
            pick(at + 1, &names),
            pick(at + 2, &words),
            noise[at + 3],
            noise[at + 4] % 100,
            noise[at + 5].is_multiple_of(2),
        );
        if text.len() + item.len() > len {
            break;
        }
        text += &item;
    }
    text.pop();
    text.push(']');
    text.extend(std::iter::repeat_n(' ', len - text.len()));
    text.into()
}
