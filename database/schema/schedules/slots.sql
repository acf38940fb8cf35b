-- Which slots a schedule has: the last ones of a time, those of a range, and when one of them begins.

set local role flowgres_owner;

create or replace function flowgres.first_slot(p_fields flowgres.cron_fields, p_timezone text, p_after timestamptz, p_ends_at timestamptz)
  returns timestamptz language plpgsql stable
as $$
declare
  v_slot timestamptz := flowgres.next_slot(p_fields => p_fields, p_timezone => p_timezone, p_after => p_after);
begin
  return case when v_slot <= coalesce(p_ends_at, 'infinity') then v_slot end;
end;
$$;
comment on function flowgres.first_slot(flowgres.cron_fields, text, timestamptz, timestamptz) is $$The next slot that is not after the end of a schedule; null when there is none.$$;

create or replace function flowgres.list_slots(
  p_fields flowgres.cron_fields, p_timezone text, p_since timestamptz, p_until timestamptz, p_most integer
)
  returns timestamptz[] language plpgsql stable
as $$
declare
  v_slots timestamptz[] := '{}';
  v_slot timestamptz := p_since - interval '1 microsecond';
begin
  while cardinality(v_slots) < p_most loop
    v_slot := flowgres.next_slot(p_fields => p_fields, p_timezone => p_timezone, p_after => v_slot);
    exit when v_slot is null or v_slot > p_until;
    v_slots := v_slots || v_slot;
  end loop;
  return v_slots;
end;
$$;
comment on function flowgres.list_slots(flowgres.cron_fields, text, timestamptz, timestamptz, integer) is $$The first slots from one moment to another, both of them included.$$;

create or replace function flowgres.last_slots(
  p_fields flowgres.cron_fields, p_timezone text, p_since timestamptz, p_until timestamptz, p_most integer
)
  returns timestamptz[] language plpgsql stable
as $$
declare
  c_most_listed constant integer := 2000;
  v_span interval := interval '15 minutes';
  v_from timestamptz;
  v_slots timestamptz[];
begin
  -- Backwards in longer and longer steps: after a year without a scheduler nobody counts its minutes.
  loop
    v_from := greatest(p_since, p_until - v_span);
    v_slots := flowgres.list_slots(
      p_fields => p_fields, p_timezone => p_timezone, p_since => v_from, p_until => p_until, p_most => c_most_listed);
    exit when cardinality(v_slots) >= p_most or v_from <= p_since;
    v_span := v_span * 4;
  end loop;
  return v_slots[greatest(cardinality(v_slots) - p_most, 0) + 1 :];
end;
$$;
comment on function flowgres.last_slots(flowgres.cron_fields, text, timestamptz, timestamptz, integer) is $$The last slots from one moment to another, both of them included.$$;

create or replace function flowgres.slot_begin(p_schedule_id uuid, p_slot timestamptz, p_jitter_seconds double precision)
  returns timestamptz language sql immutable parallel safe
as $$
  select p_slot + make_interval(secs =>
    p_jitter_seconds * ('x' || left(md5(p_schedule_id::text || extract(epoch from p_slot)::bigint::text), 8))::bit(32)::bigint / 4294967296);
$$;
comment on function flowgres.slot_begin(uuid, timestamptz, double precision) is $$When the execution of a slot begins: the slot itself, or by chance within its jitter, the same for all who ask.$$;

create or replace function flowgres.slot_text(p_slot timestamptz)
  returns text language sql immutable parallel safe
as $$
  select to_char(p_slot at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');
$$;
comment on function flowgres.slot_text(timestamptz) is $$A slot as it stands in JSON, whatever the zone of the session.$$;
