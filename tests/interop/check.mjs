// Drives an embedded control plane with the unmodified official client, the way an application would.
// One argument: a JSON object with the server's address, its key and credentials. Prints one line per step.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createClient } from '@supabase/supabase-js'
import WebSocket from 'ws'

const setup = JSON.parse(process.argv[2])
const realtime = (vsn) => ({ transport: WebSocket, vsn, params: { eventsPerSecond: 10 } })
const auth = { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false }

const operator = createClient(setup.url, setup.anonKey, {
  accessToken: async () => setup.operator,
  realtime: realtime('2.0.0'),
})
const worker = createClient(setup.url, setup.anonKey, { auth, realtime: realtime('2.0.0') })
const roamer = createClient(setup.url, setup.anonKey, { auth, realtime: realtime('2.0.0') })
const anon = createClient(setup.url, setup.anonKey, { auth, realtime: realtime('2.0.0') })

let failed = 0
async function step(name, act) {
  try {
    await act()
    console.log(`ok   ${name}`)
  } catch (error) {
    failed += 1
    console.log(`FAIL ${name}: ${error?.message ?? error}`)
  }
}

const job = (more = {}) => ({
  team_id: setup.team,
  gateway_id: setup.worker.id,
  job_type: 'shell_exec',
  payload: { command: 'true', deep: { list: [1, 'two', null] } },
  ...more,
})
const good = ({ data, error }) => {
  assert.equal(error, null, JSON.stringify(error))
  return data
}

// --- sessions --------------------------------------------------------------------------------------------------------

let rotated
await step('auth: a refresh gives a session', async () => {
  const { session, user } = good(await roamer.auth.refreshSession({ refresh_token: setup.roamer.refresh }))
  assert.equal(user.app_metadata.gateway_id, setup.roamer.id)
  assert.equal(session.token_type, 'bearer')
  rotated = session
})
await step('auth: the refresh token rotates', () => assert.notEqual(rotated.refresh_token, setup.roamer.refresh))
await step('auth: the parent gives the same active token', async () => {
  const { session } = good(await roamer.auth.refreshSession({ refresh_token: setup.roamer.refresh }))
  assert.equal(session.refresh_token, rotated.refresh_token)
})
await step('auth: setSession accepts both tokens', async () => {
  const { session } = good(
    await worker.auth.setSession({ access_token: setup.worker.access, refresh_token: setup.worker.refresh }),
  )
  assert.equal(session.access_token, setup.worker.access)
})
await step('auth: getUser tells who', async () => {
  const { user } = good(await worker.auth.getUser())
  assert.equal(user.app_metadata.role, 'gateway')
  assert.equal(user.app_metadata.team_id, setup.team)
})
await step('auth: an unknown refresh token is named as such', async () => {
  const { error } = await anon.auth.refreshSession({ refresh_token: 'no-such-token' })
  assert.equal(error.code, 'refresh_token_not_found')
  assert.equal(error.status, 400)
})
await step('auth: a forged access token is refused', async () => {
  const { error } = await anon.auth.getUser('a.b.c')
  assert.equal(error.status, 403)
  assert.equal(error.code, 'bad_jwt')
})
await step('auth: signOut ends the session', async () => {
  assert.equal((await roamer.auth.signOut()).error, null)
  const { error } = await anon.auth.refreshSession({ refresh_token: rotated.refresh_token })
  // The client's own word for the server's session_not_found.
  assert.equal(error.name, 'AuthSessionMissingError')
})

// --- functions -------------------------------------------------------------------------------------------------------

const provider = { available: false, supports: { output_schema: false, stream_json: false, tool_disable: false } }
const capabilities = {
  schema_version: 'v1',
  providers: { claude_code: provider, codex: provider, gemini: provider },
  hosts: { gateway: { kind: 'gateway', available: true, metadata: { install_full_control_enabled: false } } },
  services: { model_execution: { ready: false }, remote_shell: { ready: true }, machine_control: { ready: false } },
}
await step('functions: a heartbeat is answered', async () => {
  const body = { status: 'ready', capabilities, device_name: 'worker' }
  assert.deepEqual(good(await worker.functions.invoke('gateway-heartbeat', { body })), {
    success: true,
    egress_credential_renewal: null,
  })
})
await step('functions: an error keeps its status and body', async () => {
  const { error } = await anon.functions.invoke('gateway-heartbeat', { body: {} })
  assert.equal(error.name, 'FunctionsHttpError')
  assert.equal(error.context.status, 401)
  assert.equal((await error.context.json()).success, false)
})
await step('functions: an unknown one is 404', async () => {
  const { error } = await worker.functions.invoke('no-such-function', { body: {} })
  assert.equal(error.name, 'FunctionsHttpError')
  assert.equal(error.context.status, 404)
})
await step('functions: an operator switches the team layer', async () => {
  const body = { gateway_id: setup.worker.id, enabled: true }
  assert.equal(good(await operator.functions.invoke('set-gateway-full-control', { body })).success, true)
})

// --- rows ------------------------------------------------------------------------------------------------------------

const known = randomUUID()
await step('rest: a minimal insert answers 201 without a body', async () => {
  const answer = await operator.from('gateway_jobs').insert(job({ id: known }))
  assert.equal(good(answer), null)
  assert.equal(answer.status, 201)
})
await step('rest: an insert with select gives the row', async () => {
  const rows = good(await operator.from('gateway_jobs').insert(job()).select())
  assert.equal(rows.length, 1)
  assert.equal(rows[0].status, 'queued')
  assert.deepEqual(rows[0].payload, job().payload)
})
await step('rest: an array insert gives every row', async () => {
  const list = [job({ attempt: 1 }), job({ attempt: 2 }), job({ attempt: 3 })]
  const rows = good(await operator.from('gateway_jobs').insert(list).select('attempt'))
  assert.deepEqual(rows, [{ attempt: 1 }, { attempt: 2 }, { attempt: 3 }])
})
await step('rest: a duplicate id is 409 with 23505', async () => {
  const { error, status } = await operator.from('gateway_jobs').insert(job({ id: known }))
  assert.equal(status, 409)
  assert.equal(error.code, '23505')
})
await step('rest: select with eq', async () => {
  const rows = good(await worker.from('gateway_jobs').select('*').eq('id', known))
  assert.equal(rows[0].id, known)
})
await step('rest: select of columns', async () => {
  const rows = good(await worker.from('gateway_jobs').select('id, status').eq('id', known))
  assert.deepEqual(rows, [{ id: known, status: 'queued' }])
})
await step('rest: in, order, limit, gt and neq together', async () => {
  const rows = good(
    await worker
      .from('gateway_jobs')
      .select('attempt')
      .in('status', ['queued', 'running'])
      .gt('attempt', 1)
      .neq('id', known)
      .order('attempt', { ascending: false })
      .limit(2),
  )
  assert.deepEqual(rows, [{ attempt: 3 }, { attempt: 2 }])
})
await step('rest: is null', async () => {
  const rows = good(await worker.from('gateway_jobs').select('id').is('result', null).eq('id', known))
  assert.equal(rows.length, 1)
})
await step('rest: maybeSingle of nothing is null', async () => {
  assert.equal(good(await worker.from('gateway_jobs').select().eq('id', randomUUID()).maybeSingle()), null)
})
await step('rest: maybeSingle of one is the row', async () => {
  assert.equal(good(await worker.from('gateway_jobs').select('id').eq('id', known).maybeSingle()).id, known)
})
await step('rest: single of nothing is 406 with PGRST116', async () => {
  const { error, status } = await worker.from('gateway_jobs').select().eq('id', randomUUID()).single()
  assert.equal(status, 406)
  assert.equal(error.code, 'PGRST116')
})
await step('rest: an exact count by HEAD', async () => {
  const { count, error } = await worker
    .from('gateway_jobs')
    .select('*', { count: 'exact', head: true })
    .in('attempt', [1, 2, 3])
  assert.equal(error, null)
  assert.equal(count, 3)
})
const claim = () =>
  worker
    .from('gateway_jobs')
    .update({ status: 'running', gateway_id: setup.worker.id, started_at: new Date().toISOString() })
    .eq('id', known)
    .eq('team_id', setup.team)
    .eq('status', 'queued')
    .eq('gateway_id', setup.worker.id)
    .select('*')
    .maybeSingle()
await step('rest: a guarded update claims a job once', async () => {
  assert.equal(good(await claim()).status, 'running')
  assert.equal(good(await claim()), null)
})
await step('rest: an update without select is 204', async () => {
  const change = { status: 'completed', result: { exit_code: 0 }, completed_at: new Date().toISOString() }
  const answer = await worker.from('gateway_jobs').update(change).eq('id', known).eq('status', 'running')
  assert.equal(good(answer), null)
  assert.equal(answer.status, 204)
})
await step('rest: an unknown table is 404 with PGRST205', async () => {
  const { error, status } = await worker.from('no_such_table').select()
  assert.equal(status, 404)
  assert.equal(error.code, 'PGRST205')
})
await step('rest: an unknown column is 400 with 42703', async () => {
  const { error, status } = await worker.from('gateway_jobs').select('no_such_column')
  assert.equal(status, 400)
  assert.equal(error.code, '42703')
})
await step('rest: a bad literal is 400 with 22P02', async () => {
  const { error, status } = await worker.from('gateway_jobs').select().eq('id', 'no-uuid')
  assert.equal(status, 400)
  assert.equal(error.code, '22P02')
})
await step('rest: a delete takes the row away', async () => {
  const answer = await operator.from('gateway_jobs').delete().eq('id', known)
  assert.equal(good(answer), null)
  assert.equal(good(await operator.from('gateway_jobs').select().eq('id', known)).length, 0)
})
await step('rest: the public key alone sees nothing', async () => {
  assert.deepEqual(good(await anon.from('gateway_jobs').select()), [])
})
await step('rest: a gateway makes no jobs', async () => {
  const { error, status } = await worker.from('gateway_jobs').insert(job())
  assert.equal(status, 403)
  assert.equal(error.code, '42501')
})
await step('rpc: a call gives the bare value', async () => {
  assert.ok(Date.parse(good(await worker.rpc('gateway_server_time'))) > 0)
})
await step('rpc: an unknown function is 404 with PGRST202', async () => {
  const { error, status } = await worker.rpc('no_such_function', { p: 1 })
  assert.equal(status, 404)
  assert.equal(error.code, 'PGRST202')
})

// --- realtime --------------------------------------------------------------------------------------------------------

async function until(what, condition) {
  const end = Date.now() + 20_000
  while (!condition()) {
    assert.ok(Date.now() < end, `gave up waiting: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

for (const vsn of ['2.0.0', '1.0.0']) {
  const client = createClient(setup.url, setup.anonKey, {
    accessToken: async () => setup.worker.access,
    realtime: realtime(vsn),
  })
  const heard = { filtered: [], wild: [], other: [] }
  const seen = { status: [], system: [] }
  const filter = `gateway_id=eq.${setup.worker.id}`
  const at = { schema: 'public', table: 'gateway_jobs' }
  const channel = client
    .channel(`gateway_jobs_${setup.worker.id}`)
    .on('postgres_changes', { event: 'INSERT', ...at, filter }, (change) => heard.filtered.push(change))
    .on('postgres_changes', { event: '*', ...at }, (change) => heard.wild.push(change))
    .on('postgres_changes', { event: 'INSERT', ...at, filter: 'status=eq.failed' }, (c) => heard.other.push(c))
    .on('system', {}, (message) => seen.system.push(message))

  await step(`realtime ${vsn}: subscribe`, async () => {
    // Without this the first join may leave before the client knows its token.
    await client.realtime.setAuth()
    channel.subscribe((status, error) => seen.status.push(error ? `${status}: ${error.message}` : status))
    await until('SUBSCRIBED', () => seen.status.includes('SUBSCRIBED'))
  })
  await step(`realtime ${vsn}: system ok`, async () => {
    await until('system ok', () => seen.system.some((message) => message.status === 'ok'))
  })
  let row
  await step(`realtime ${vsn}: an INSERT is the row`, async () => {
    row = good(await operator.from('gateway_jobs').insert(job({ attempt: 7 })).select().single())
    await until('the insert', () => heard.filtered.length > 0)
    const [change] = heard.filtered
    assert.equal(change.eventType, 'INSERT')
    assert.equal(change.errors, null)
    assert.deepEqual(change.new, row)
  })
  await step(`realtime ${vsn}: a filter excludes`, async () => {
    await until('the wildcard', () => heard.wild.length > 0)
    assert.equal(heard.other.length, 0)
  })
  await step(`realtime ${vsn}: a pushed token keeps the channel`, async () => {
    await client.realtime.setAuth(setup.worker.access)
    good(await operator.from('gateway_jobs').insert(job()))
    await until('the second insert', () => heard.filtered.length > 1)
    assert.deepEqual(seen.status, ['SUBSCRIBED'])
  })
  await step(`realtime ${vsn}: bindings and wildcard are counted exactly`, async () => {
    good(await operator.from('gateway_jobs').update({ status: 'cancelled' }).eq('id', row.id))
    await until('the update', () => heard.wild.some((change) => change.eventType === 'UPDATE'))
    const update = heard.wild.find((change) => change.eventType === 'UPDATE')
    assert.deepEqual(update.old, { id: row.id })
    assert.equal(update.new.status, 'cancelled')
    good(await operator.from('gateway_jobs').delete().eq('id', row.id))
    await until('the delete', () => heard.wild.some((change) => change.eventType === 'DELETE'))
    assert.equal(heard.filtered.length, 2)
    assert.equal(heard.wild.length, 4)
    assert.equal(heard.other.length, 0)
  })
  await step(`realtime ${vsn}: unsubscribe is CLOSED`, async () => {
    assert.equal(await channel.unsubscribe(), 'ok')
    await until('CLOSED', () => seen.status.includes('CLOSED'))
  })
  await client.removeAllChannels()
  await client.realtime.disconnect()
}

console.log(failed === 0 ? 'all steps passed' : `${failed} steps failed`)
process.exit(failed === 0 ? 0 : 1)
