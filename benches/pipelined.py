"""What the service does, roughly, in Python, to compare with: one thread reads and folds the next batch while another
commits the one before. Exactly once in effect: rows and offsets are one transaction, and only new rows are counted.

It checks little, redacts nothing, and keeps neither bad records nor a history of changes.
"""

import argparse, json, queue, threading, time
from collections import defaultdict
from datetime import datetime, timezone

import orjson, psycopg
from confluent_kafka import Consumer, TopicPartition

BATCH, LARGEST = 5_000, 1 << 20
SHARED = ["session_id text", "id uuid", "emitted_at timestamptz", "entity_id uuid", "correlation_id uuid",
          "causation_id uuid", "task_id text", "action_description text"]
PROMPT = ["prompt_preview text", "prompt_length bigint", "detected_intent text"]
TOOL = ["tool_name text", "success boolean", "duration_ms int", "summary text"]
STARTED = ["kind text", "working_directory text", "git_branch text", "hook_source text"]
ENDED = ["kind text", "reason text", "duration_seconds float8", "tools_used_count bigint"]
OFFSET = ["topic text", "partition int", "next_offset bigint"]
SESSION = ["session_id text", "started_at timestamptz", "ended_at timestamptz", "working_directory text",
           "git_branch text", "prompts bigint", "tools bigint", "failures bigint", "first_event_at timestamptz",
           "last_event_at timestamptz"]
TABLES = {"prompts_py": (SHARED + PROMPT, "session_id, id"), "tool_executions_py": (SHARED + TOOL, "session_id, id"),
          "lifecycle_py": (SHARED + STARTED + ENDED[1:], "session_id, kind, emitted_at, id"),
          "sessions_py": (SESSION, "session_id"), "offsets_py": (OFFSET, "topic, partition")}


def insert(table, columns, conflict):
    names, types = zip(*(column.split() for column in columns))
    arrays = ", ".join(f"%s::{type}[]" for type in types)
    return f"INSERT INTO {table} ({', '.join(names)}) SELECT * FROM unnest({arrays}) ON CONFLICT {conflict}"


def insert_events(table, columns, failed="false"):
    new = insert(table, columns, f"DO NOTHING RETURNING session_id, {failed} AS failed")
    return f"WITH new AS ({new}) SELECT session_id, count(*), count(*) FILTER (WHERE failed) FROM new GROUP BY 1"


def array(values):
    """An array as Postgres reads it; psycopg takes five times as long to write one."""
    return "{" + ",".join([
        "NULL" if value is None
        else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if type(value) is str
        else str(value) for value in values
    ]) + "}"


MOVE = insert("offsets_py", OFFSET, "(topic, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset")
UPSERT = insert("sessions_py AS s", SESSION, """(session_id) DO UPDATE SET
    started_at = least(s.started_at, EXCLUDED.started_at), ended_at = greatest(s.ended_at, EXCLUDED.ended_at),
    working_directory = coalesce(s.working_directory, EXCLUDED.working_directory),
    git_branch = coalesce(s.git_branch, EXCLUDED.git_branch), prompts = s.prompts + EXCLUDED.prompts,
    tools = s.tools + EXCLUDED.tools, failures = s.failures + EXCLUDED.failures,
    first_event_at = least(s.first_event_at, EXCLUDED.first_event_at),
    last_event_at = greatest(s.last_event_at, EXCLUDED.last_event_at)""")


def of(type_, value):
    if type(value) is not type_ or type_ is int and abs(value) >= 1 << 63:
        raise TypeError
    return value.replace("\0", "\ufffd") if type_ is str and "\0" in value else value


def optional(type_, value):
    return None if value is None else of(type_, value)


def shared(p, id_member):
    return (of(str, p["session_id"]), of(str, p[id_member]), of(str, p["emitted_at"]), of(str, p["entity_id"]),
            of(str, p["correlation_id"]), of(str, p["causation_id"]), optional(str, p.get("task_id")),
            of(str, p.get("action_description", "")))


def prompt(p):
    return (*shared(p, "prompt_id"), of(str, p["prompt_preview"]), of(int, p["prompt_length"]),
            optional(str, p.get("detected_intent")))


def tool(p):
    return (*shared(p, "tool_execution_id"), of(str, p["tool_name"]), of(bool, p.get("success", True)),
            optional(int, p.get("duration_ms")), optional(str, p.get("summary")))


def started(p):
    return (*shared(p, "causation_id"), "started", of(str, p["working_directory"]), optional(str, p.get("git_branch")),
            of(str, p["hook_source"]))


def ended(p):
    seconds = p.get("duration_seconds")
    return (*shared(p, "causation_id"), "ended", of(str, p["reason"]), None if seconds is None else float(seconds),
            of(int, p.get("tools_used_count", 0)))


KINDS = {"hook.prompt.submitted": (prompt, insert_events("prompts_py", SHARED + PROMPT)),
         "hook.tool.executed": (tool, insert_events("tool_executions_py", SHARED + TOOL, "NOT success")),
         "hook.session.started": (started, insert_events("lifecycle_py", SHARED + STARTED)),
         "hook.session.ended": (ended, insert_events("lifecycle_py", SHARED + ENDED))}


def decode(message):
    """The event's kind, its row and its time. Whatever is wrong with a record raises."""
    if len(message.value()) > LARGEST:
        raise ValueError
    record = orjson.loads(message.value())
    kind = record.get("event_type") or dict(message.headers() or [])["event_type"].decode()
    row = KINDS[kind][0](record.get("payload", record))
    at = datetime.fromisoformat(row[2])
    return kind, row, at if at.tzinfo else at.replace(tzinfo=timezone.utc)


def fold(messages):
    rows, sessions, offsets = defaultdict(list), {}, {}
    for message in messages:
        offsets[message.topic(), message.partition()] = message.offset() + 1
        try:
            kind, row, at = decode(message)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # a bad record
        rows[kind].append(row)
        session = sessions.get(row[0])
        if session is None:
            session = sessions[row[0]] = [None, None, None, None, at, at]
        if at < session[4]:
            session[4] = at
        if at > session[5]:
            session[5] = at
        if kind == "hook.session.started" and (session[0] is None or at < session[0]):
            session[0], session[2], session[3] = at, row[9], row[10]
        elif kind == "hook.session.ended" and (session[1] is None or at > session[1]):
            session[1] = at
    columns = {kind: [array(column) for column in zip(*of_kind)] for kind, of_kind in rows.items()}
    moves = [array(column) for column in zip(*((*place, next) for place, next in offsets.items()))]
    return columns, *by_column(sessions), moves


def by_column(sessions):
    """Sorted, so that two instances lock rows in one order."""
    names = sorted(sessions)
    text = lambda at: at and at.isoformat()
    folded = [[text(s[0]), text(s[1]), s[2], s[3], text(s[4]), text(s[5])] for s in map(sessions.get, names)]
    return names, [array(column) for column in zip(*folded)]


def commit(connection, columns, names, folded, offsets):
    """Returns how many events were new."""
    counts, events = defaultdict(lambda: [0, 0, 0]), 0
    with connection.transaction(), connection.cursor() as cursor:
        for kind, arrays in columns.items():
            cursor.execute(KINDS[kind][1], arrays)
            for session, new, failures in cursor:
                events += new
                if kind == "hook.prompt.submitted":
                    counts[session][0] += new
                elif kind == "hook.tool.executed":
                    counts[session][1] += new
                    counts[session][2] += failures
        if names:
            counted = [array(column) for column in zip(*(counts[name] for name in names))]
            cursor.execute(UPSERT, [array(names), *folded[:4], *counted, *folded[4:]])
        cursor.execute(MOVE, offsets)
    return events


def read(consumer, left, batches, clock):
    messages = consumer.consume(1, 60)  # from here on the clock runs
    clock.append(time.monotonic())
    while left:
        messages += consumer.consume(min(BATCH, left) - len(messages), 1)
        left -= len(messages)
        batches.put((len(messages), fold(messages)))
        messages = []
    batches.put(None)


def main():
    parser = argparse.ArgumentParser()
    for name in ["brokers", "postgres", "schema", "topics"]:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--partitions", type=int, required=True)
    parser.add_argument("--records", type=int, required=True, help="stop after so many")
    options = parser.parse_args()
    settings = f"-c search_path={options.schema} -c timezone=UTC"
    connection = psycopg.connect(options.postgres, autocommit=True, options=settings)
    for name, (columns, key) in TABLES.items():
        columns = ", ".join(columns).replace("session_id text", 'session_id text COLLATE "C"')
        connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns}, PRIMARY KEY ({key}))")
    stored = {(topic, partition): at for topic, partition, at in connection.execute("SELECT * FROM offsets_py")}
    consumer = Consumer({"bootstrap.servers": options.brokers, "group.id": "pipelined", "enable.auto.commit": False,
                         "fetch.queue.backoff.ms": 10})
    consumer.assign([TopicPartition(topic, partition, stored.get((topic, partition), 0))
                     for topic in options.topics.split(",") for partition in range(options.partitions)])
    batches, clock, records, events = queue.Queue(maxsize=1), [], 0, 0
    threading.Thread(target=read, args=(consumer, options.records, batches, clock), daemon=True).start()
    while batch := batches.get():
        count, folded = batch
        events += commit(connection, *folded)
        records += count
    seconds = time.monotonic() - clock[0]
    print(json.dumps({"records": records, "seconds": seconds, "events": events}))


if __name__ == "__main__":
    main()
