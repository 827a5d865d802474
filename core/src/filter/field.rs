//! The fields of the language, in one table that help texts read too.

/// A field, for help texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldHelp {
    /// As it is written.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// A term that uses it.
    pub example: &'static str,
}

macro_rules! field {
    ($name:literal, $about:literal, $example:literal) => {
        FieldHelp { name: $name, about: $about, example: $example }
    };
}

/// Every field.
pub const FIELDS: &[FieldHelp] = &[
    field!("state", "where the job stands", "state:dead,retrying"),
    field!("kind", "which handler runs it", "kind:send_*"),
    field!("queue", "its queue", "queue:mail"),
    field!("tag", "one of its labels", "tag:vip"),
    field!("id", "its id", "id:01890a5d*"),
    field!("worker", "a worker that ran it, by name or id", "worker:host-7*"),
    field!("error", "part of an error or of the reason", "error:\"timed out\""),
    field!("args", "part of the payload, or the value at a path of it", "args.user.id:123"),
    field!("header", "a header, by its name", "header.tenant:acme"),
    field!("age", "time since it was enqueued", "age>10m"),
    field!("attempt", "attempts used", "attempt>=3"),
    field!("max_attempts", "attempts it may use", "max_attempts:1"),
    field!("crashes", "workers lost with it", "crashes>0"),
    field!("priority", "its priority", "priority<0"),
    field!("size", "bytes of its payload", "size>100000"),
    field!("enqueued", "when it was enqueued", "enqueued>=2026-11-01"),
    field!("run_at", "when it may start", "run_at<2030-01-31T09:30:00Z"),
    field!("ended", "when it ended", "ended>2026-11-24T18:00:00Z"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextField {
    Kind,
    Queue,
    Tag,
    Id,
    Worker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberField {
    Attempt,
    MaxAttempts,
    Crashes,
    Priority,
    Size,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MomentField {
    Enqueued,
    RunAt,
    Ended,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    State,
    Error,
    Age,
    Text(TextField),
    Number(NumberField),
    Moment(MomentField),
    Args(Vec<String>),
    Header(String),
}

impl TextField {
    const ALL: [TextField; 5] =
        [TextField::Kind, TextField::Queue, TextField::Tag, TextField::Id, TextField::Worker];

    pub(super) fn name(self) -> &'static str {
        match self {
            TextField::Kind => "kind",
            TextField::Queue => "queue",
            TextField::Tag => "tag",
            TextField::Id => "id",
            TextField::Worker => "worker",
        }
    }
}

impl NumberField {
    const ALL: [NumberField; 5] = [
        NumberField::Attempt,
        NumberField::MaxAttempts,
        NumberField::Crashes,
        NumberField::Priority,
        NumberField::Size,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            NumberField::Attempt => "attempt",
            NumberField::MaxAttempts => "max_attempts",
            NumberField::Crashes => "crashes",
            NumberField::Priority => "priority",
            NumberField::Size => "size",
        }
    }
}

impl MomentField {
    const ALL: [MomentField; 3] = [MomentField::Enqueued, MomentField::RunAt, MomentField::Ended];

    pub(super) fn name(self) -> &'static str {
        match self {
            MomentField::Enqueued => "enqueued",
            MomentField::RunAt => "run_at",
            MomentField::Ended => "ended",
        }
    }
}

impl Field {
    /// The field of this name; for the two that take a path, with it.
    pub(super) fn of(name: &str) -> Option<Field> {
        if let Some((first, rest)) = name.split_once('.') {
            let path = || rest.split('.').map(str::to_owned).collect();
            return match first {
                _ if rest.split('.').any(str::is_empty) => None,
                "args" => Some(Field::Args(path())),
                // A header's name may have points itself.
                "header" => Some(Field::Header(rest.to_owned())),
                _ => None,
            };
        }
        let text = TextField::ALL.into_iter().find(|field| field.name() == name).map(Field::Text);
        let number = NumberField::ALL.into_iter().find(|field| field.name() == name).map(Field::Number);
        let instant = MomentField::ALL.into_iter().find(|field| field.name() == name).map(Field::Moment);
        text.or(number).or(instant).or(match name {
            "state" => Some(Field::State),
            "error" => Some(Field::Error),
            "age" => Some(Field::Age),
            "args" => Some(Field::Args(Vec::new())),
            _ => None,
        })
    }
}
