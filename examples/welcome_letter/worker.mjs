// A worker in Node: PostgREST's own client, and fetch to wait at the front.
import { PostgrestClient } from "@supabase/postgrest-js";

const { FLOWGRES_API_URL, FLOWGRES_FRONT_URL, FLOWGRES_API_KEY } = process.env;
const headers = { "X-API-Key": FLOWGRES_API_KEY };
const api = new PostgrestClient(FLOWGRES_API_URL, { headers });
const me = `node-${process.pid}`;

async function print({ task_id, token, payload }) {
  // As long as it takes: a word every ten seconds keeps the task.
  const keeping = setInterval(() => api.rpc("extend_task", { task_id, token, progress: 0.5 }).then(() => {}), 10_000);
  try {
    console.log(`${me} prints: ${payload.text}`);
    const { error } = await api.rpc("complete_task", { task_id, token, output: { pages: 1, by: me } });
    if (error) console.log(`${task_id}: ${error.message}`);
  } catch (error) {
    await api.rpc("fail_task", { task_id, token, error: String(error) });
  } finally {
    clearInterval(keeping);
  }
}

for (;;) {
  const query = new URLSearchParams({ worker: me, wait: "20" });
  const answer = await fetch(`${FLOWGRES_FRONT_URL}/tasks/print?${query}`, { headers }).catch(() => undefined);
  if (answer?.ok) for (const task of await answer.json()) await print(task);
  else await new Promise((resolve) => setTimeout(resolve, 1000));
}
