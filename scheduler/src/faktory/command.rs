//! What a line asks for. Verbs are case-sensitive; extra text behind a verb without arguments is ignored.

/// A command with its argument, still as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// Who the peer is; legal once, first.
    Hello(&'a str),
    /// A job.
    Push(&'a str),
    /// Jobs.
    PushMany(&'a str),
    /// A job from one of these queues, in this order.
    Fetch(Vec<&'a str>),
    /// `FETCH` without so much as a blank behind it, which is an error, while with one it is an empty list.
    FetchNothing,
    /// A job is done.
    Ack(&'a str),
    /// A job has failed.
    Fail(&'a str),
    /// A worker lives.
    Beat(&'a str),
    /// Figures.
    Info,
    /// Wipe everything.
    Flush,
    /// Something about queues.
    Queue(&'a str),
    /// Something about the jobs of a set.
    Mutate(&'a str),
    /// Commercial features, which are answered with an error of their own.
    Batch,
    /// As above.
    Track,
    /// The peer leaves.
    End,
    /// A verb that needs an argument and has none.
    Bare(&'a str),
    /// No verb that is known.
    Unknown(&'a str),
}

impl<'a> Command<'a> {
    /// Reads a line.
    pub(super) fn read(line: &'a str) -> Command<'a> {
        let (verb, rest) = line.split_once(' ').map_or((line, None), |(verb, rest)| (verb, Some(rest)));
        let with = |make: fn(&'a str) -> Command<'a>| match rest.map(str::trim) {
            None | Some("") => Command::Bare(verb),
            Some(text) => make(text),
        };
        match verb {
            "HELLO" => with(Command::Hello),
            "PUSH" => with(Command::Push),
            "PUSHB" => with(Command::PushMany),
            "FETCH" => {
                rest.map_or(Command::FetchNothing, |names| Command::Fetch(names.split_whitespace().collect()))
            }
            "ACK" => with(Command::Ack),
            "FAIL" => with(Command::Fail),
            "BEAT" => with(Command::Beat),
            "INFO" => Command::Info,
            "FLUSH" => Command::Flush,
            "QUEUE" => with(Command::Queue),
            "MUTATE" => with(Command::Mutate),
            "BATCH" => Command::Batch,
            "TRACK" => Command::Track,
            "END" => Command::End,
            _ => Command::Unknown(verb),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_and_arguments() {
        assert_eq!(Command::read("PUSH {\"a\": 1} "), Command::Push("{\"a\": 1}"));
        assert_eq!(Command::read("FETCH a  b"), Command::Fetch(vec!["a", "b"]));
        assert_eq!(Command::read("FETCH "), Command::Fetch(vec![]));
        assert_eq!(Command::read("FETCH"), Command::FetchNothing);
        assert_eq!(Command::read("FLUSH now"), Command::Flush);
        assert_eq!(Command::read("ACK"), Command::Bare("ACK"));
        assert_eq!(Command::read("ACK  "), Command::Bare("ACK"));
        assert_eq!(Command::read("push {}"), Command::Unknown("push"));
        assert_eq!(Command::read(""), Command::Unknown(""));
    }
}
