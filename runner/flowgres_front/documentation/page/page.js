// Swagger UI over two documents: the front's (functions and routes), and PostgREST's (views), which depends on who asks.
const OURS = '/openapi.json'

// As the address of the functions in our document: PostgREST's own document lies at its root.
const addressOfApi = async () => {
  const document = await (await fetch(OURS)).json()
  return document.paths['/rpc/health'].servers[0].url.replace(/\/$/, '')
}

const credentials = (system) => {
  const headers = {}
  const authorized = system ? system.authSelectors.authorized().toJS() : {}
  for (const { name, schema, value } of Object.values(authorized)) {
    if (schema.type === 'http') headers.Authorization = `Bearer ${value}`
    else headers[schema.name || name] = value
  }
  return headers
}

const show = (url) => {
  let system // it loads its document before it is there
  system = window.SwaggerUIBundle({
    url,
    dom_id: '#swagger',
    docExpansion: 'list',
    tagsSorter: 'alpha',
    defaultModelsExpandDepth: 0,
    tryItOutEnabled: true,
    validatorUrl: null,
    presets: [window.SwaggerUIBundle.presets.apis],
    requestInterceptor: (request) => {
      if (request.loadSpec) Object.assign(request.headers, credentials(system))
      return request
    },
    plugins: [reloadWhenAuthorized(url)],
  })
}

// What PostgREST's document lists depends on the key, so a new key asks for it again.
const reloadWhenAuthorized = (url) => () => ({
  statePlugins: {
    auth: {
      wrapActions: Object.fromEntries(
        ['authorize', 'logout'].map((action) => [
          action,
          (original, system) => (payload) => {
            const result = original(payload)
            if (url !== OURS) system.specActions.download(url)
            return result
          },
        ]),
      ),
    },
  },
})

const start = async () => {
  const choice = document.getElementById('document')
  const api = await addressOfApi()
  for (const [title, url] of [['Functions and front', OURS], ['Views and functions, by PostgREST', `${api}/`]]) {
    choice.add(new Option(title, url))
  }
  choice.addEventListener('change', () => show(choice.value))
  // Without credentials: with wrong ones PostgREST tells nothing, and nothing could be put right.
  document.getElementById('again').addEventListener('click', () => show(choice.value))
  show(choice.value)
}

start()
