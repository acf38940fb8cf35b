-- Where two JSON values differ.

set local role flowgres_owner;

create or replace function flowgres.shown_value(p_value jsonb)
  returns jsonb language sql immutable parallel safe
as $$
  select case
    when p_value is null or octet_length(p_value::text) <= 1000 then p_value
    else jsonb_build_object('omitted_bytes', octet_length(p_value::text)) end;
$$;
comment on function flowgres.shown_value(jsonb) is $$A value as a comparison shows it: of one that is long, how long it is.$$;

create or replace function flowgres.whole_difference(p_a jsonb, p_b jsonb)
  returns jsonb language sql immutable parallel safe
as $$
  select jsonb_build_object('is_equal', false, 'omitted', 0, 'differences', jsonb_build_array(
    jsonb_build_object('path', '$')
    || case when p_a is not null then jsonb_build_object('a', flowgres.shown_value(p_a)) else '{}' end
    || case when p_b is not null then jsonb_build_object('b', flowgres.shown_value(p_b)) else '{}' end));
$$;
comment on function flowgres.whole_difference(jsonb, jsonb) is $$That two values differ, as json_differences says it, without looking into them.$$;

create or replace function flowgres.json_differences(p_a jsonb, p_b jsonb, p_most integer)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  if p_a is not distinct from p_b then
    return jsonb_build_object('is_equal', true, 'differences', '[]'::jsonb, 'omitted', 0);
  elsif greatest(octet_length(p_a::text), octet_length(p_b::text)) > 262144 then
    -- Who has such values compares them apart: here there may be hundreds of them.
    return flowgres.whole_difference(p_a => p_a, p_b => p_b);
  end if;
  return (
    with recursive pairs as (
      select '{}'::text[] as place, '$' as path, p_a as a, p_b as b
      union all
      select p.place || c.place, p.path || c.path, c.a, c.b
      from pairs as p
      cross join lateral (
        select m.key as place, case when m.key ~ '^[A-Za-z_][A-Za-z0-9_]*$' then '.' || m.key else format('[%s]', to_json(m.key)) end as path, m.a, m.b
        from (
          select coalesce(x.key, y.key) as key, x.value as a, y.value as b
          from jsonb_each(case jsonb_typeof(p.a) when 'object' then p.a end) as x
          full join jsonb_each(case jsonb_typeof(p.a) when 'object' then p.b end) as y on y.key = x.key
        ) as m
        union all
        select lpad(coalesce(x.place, y.place)::text, 8, '0'), format('[%s]', coalesce(x.place, y.place) - 1), x.value, y.value
        from jsonb_array_elements(case jsonb_typeof(p.a) when 'array' then p.a end) with ordinality as x (value, place)
        full join jsonb_array_elements(case jsonb_typeof(p.a) when 'array' then p.b end) with ordinality as y (value, place)
          on y.place = x.place
      ) as c
      where jsonb_typeof(p.a) = jsonb_typeof(p.b) and jsonb_typeof(p.a) in ('object', 'array') and c.a is distinct from c.b
    ),
    leaves as (
      select p.*, row_number() over (order by p.place) as number, count(*) over () as count
      from pairs as p
      where (jsonb_typeof(p.a) = jsonb_typeof(p.b) and jsonb_typeof(p.a) in ('object', 'array')) is not true
    )
    select jsonb_build_object(
      'is_equal', false,
      'differences', jsonb_agg(
        jsonb_build_object('path', l.path)
        || case when l.a is not null then jsonb_build_object('a', flowgres.shown_value(l.a)) else '{}' end
        || case when l.b is not null then jsonb_build_object('b', flowgres.shown_value(l.b)) else '{}' end
        order by l.number) filter (where l.number <= p_most),
      'omitted', greatest(max(l.count) - p_most, 0))
    from leaves as l);
end;
$$;
comment on function flowgres.json_differences(jsonb, jsonb, integer) is $$Where two values differ: {is_equal, differences: [{path, a, b}], omitted}

By path, p_most of them, and how many are left out. What is missing on one side has no key there; a value of more than 1,000 bytes is {omitted_bytes}. Of
values larger than 256 KiB only that they differ.$$;
