-- When an execution may be asked to start.

set local role flowgres_owner;

create or replace function flowgres.check_scheduled_at(p_scheduled_at timestamptz, p_now timestamptz)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  -- What never ends is kept for ever. Five years are 1,827 days at most.
  if p_scheduled_at = '-infinity' or p_scheduled_at > p_now + interval '1827 days' then
    perform flowgres.fail(
      p_status => 400, p_code => 'scheduled_at_invalid',
      p_message => format('scheduled_at %s is not within five years from now', p_scheduled_at),
      p_hint => 'Give a time of the next five years; one in the past starts at once.');
  end if;
end;
$$;
comment on function flowgres.check_scheduled_at(timestamptz, timestamptz) is $$Refuse a start that is further away than five years, or no time at all.$$;
