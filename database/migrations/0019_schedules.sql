-- Schedules: cron triggers that start executions, each slot once.

set local role flowgres_owner;

create type flowgres.cron_fields as (
  minutes smallint[],
  hours smallint[],
  days smallint[],
  months smallint[],
  weekdays smallint[],
  nth_weekdays smallint[],
  has_last_day boolean,
  counts_days boolean,
  counts_weekdays boolean
);
comment on type flowgres.cron_fields is $$A cron expression that was read: the values of each field

nth_weekdays are ten times a weekday and which one of the month, 9 for the last. A day has to be right by its number and by its weekday;
where both count, by one of them.$$;
