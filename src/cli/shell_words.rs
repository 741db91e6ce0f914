//! The command line that a job carries, from the words a person typed.

/// One word is a shell command line already; several are quoted, each for itself, and joined.
pub(crate) fn command_line(words: &[String]) -> String {
    match words {
        [line] => line.clone(),
        words => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    }
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str]) -> String {
        command_line(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn one_word_is_a_command_line() {
        assert_eq!(line(&["exit 7"]), "exit 7");
    }

    #[test]
    fn several_words_are_quoted() {
        assert_eq!(line(&["uname", "-a"]), "uname -a");
        assert_eq!(
            line(&["echo", "a b", "", "it's", "$HOME"]),
            r"echo 'a b' '' 'it'\''s' '$HOME'"
        );
        assert_eq!(line(&["A=1", "~"]), "'A=1' '~'");
    }
}
