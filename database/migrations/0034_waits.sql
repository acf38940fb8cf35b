-- Events that many wait for: a note about a mailbox, which the claims follow page by page.

set local role flowgres_owner;

alter table flowgres.pending_wakes
-- squawk-ignore ban-drop-constraint
drop constraint pending_wakes_is_one_of_three,
add constraint pending_wakes_is_one_of_four check (
  (name is null) = (address is null) and (queue_id is null) = (token is null)
  and (resume is null or queue_id is not null or name is not null)
  and (name is null) = (execution_id is not null) and (name is null or queue_id is null)
) not valid;
comment on table flowgres.pending_wakes is $$Notes for the next claim: whom it wakes

Of children that have ended while somebody else held the row of their parent, of parked rows that are to be woken, of signals that were
sent, and of events with the rest of those that wait for them. No unique key: whoever leaves a note waits for nobody.$$;
comment on column flowgres.pending_wakes.resume is $$What the step goes on with; null when it has begun to wait, and a signal may have come meanwhile

With a name it is an event: its signal_id, the wait that was looked at last (after), and until when who waits has begun.$$;
comment on column flowgres.pending_wakes.name is $$Name of a signal that was sent, or of an event$$;
comment on column flowgres.waits.address is $$k:<key>, or nothing: of a signal one without a key, of an event any

Of an event without a key whose payload has to contain something, m:<hash> of one member of that.$$;
