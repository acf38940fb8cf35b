"""Workflows and cases that the tests of `flowgres test` run; all of them pass, but those of FAILING."""

from __future__ import annotations

ORDERS = """\
name: orders
inputs:
  amount: {type: number, required: true}
steps:
  - id: charge
    type: http
    config:
      method: POST
      url: https://api.example.com/charges
      query: {currency: eur}
      headers: {Authorization: "Bearer {{ secrets.STRIPE_KEY }}"}
      json: {amount: "{{ input.amount }}"}
    retry: {attempts: 4, delay: 2s, factor: 3, errors: [timeout, connect, "5xx", "429"]}
    timeout: 30s
    output: {id: "{{ response.body.id }}", said: "{{ response.body.said | default(none) }}"}
  - id: check_amount
    type: condition
    depends_on: [charge]
    config: {expression: "{{ input.amount > 100 }}", true_branch: [cool_down], false_branch: [small]}
  - {id: cool_down, type: delay, depends_on: [check_amount], config: {duration: 30d}}
  - {id: small, type: log, depends_on: [check_amount], config: {message: small}}
  - id: ship
    type: sub_workflow
    depends_on: [cool_down, small]
    config: {workflow: shipping, input: {amount: "{{ input.amount }}"}}
  - id: tell_sales
    type: notify
    depends_on: [ship]
    on_error: continue
    retry: {attempts: 1}
    config: {channel: email, recipient: ann@shop.example, message: "{{ steps.ship.output }}"}
outputs:
  shipment: "{{ steps.ship.output.tracking }}"
  said: "{{ steps.charge.output.said }}"
"""

SHIPPING = """\
name: shipping
inputs: {amount: {type: number}}
steps:
  - id: book
    type: http
    config: {url: "https://carrier.example/book/{{ input.amount }}"}
    retry: {attempts: 1}
outputs: {tracking: "{{ steps.book.output.body }}"}
"""

ORDER_CASES = """\
workflow: orders.yaml
also: shipping.yaml
secrets: {STRIPE_KEY: sk_test_secret_1}
now: 2026-03-01T08:00:00Z
mocks:
  - {url: https://carrier.example/book/*, body: 1Z}
  - {step: charge, status: 200, body: {id: ch_1}}
cases:
  - name: a small order is shipped at once
    input: {amount: 5}
    expect:
      outputs: {shipment: 1Z, said: null}
      branches: {check_amount: false}
      steps: {cool_down: skipped, small: completed, tell_sales: completed}
      duration: 0
      requests:
        - {step: charge, method: post, url: https://api.example.com/charges, json: {amount: 5}}
        - {workflow: shipping, step: book, method: GET, url: https://carrier.example/book/5}

  - name: a large order waits for thirty days
    input: {amount: 500}
    expect:
      branches: {check_amount: "true"}
      steps: {cool_down: completed, small: skipped}
      duration: 30d

  - name: attempts come after their backoff
    input: {amount: 5}
    mocks:
      - step: charge
        answers:
          - {status: 503}
          - {error: {code: http_connect, class: connect, message: no route}}
          - {status: 429, headers: {retry-after: 100}}
          - {status: 200, body: {id: ch_1}}
    expect:
      steps: {charge: {status: completed, attempts: 4}}
      requests: [{step: charge, attempt: 1}, {attempt: 2}, {attempt: 3}, {attempt: 4}, {workflow: shipping}]
      duration: 108s                      # 2 + 6 + 100, without jitter

  - name: an answer that takes too long is a timeout
    input: {amount: 5}
    mocks:
      - {step: charge, status: 200, body: {id: ch_1}, takes: 31s}
    expect:
      status: failed
      error: {code: http_timeout, class: timeout, step: charge}
      steps: {charge: {attempts: 4}}
      duration: 146s                      # 4 * 30 + 2 + 6 + 18

  - name: an answer that takes long enough is one
    input: {amount: 5}
    mocks: [{step: charge, status: 200, body: {id: ch_1}, takes: 29s}]
    expect: {status: completed, duration: 29s}

  - name: a status that is not expected is not tried again
    input: {amount: 5}
    mocks: [{step: charge, status: 402, body: no money}]
    expect:
      status: failed
      error: {code: http_status, details: {status: 402, body: no money}}
      steps: {charge: {attempts: 1}, ship: cancelled}

  - name: a sub-workflow that is mocked starts no child
    input: {amount: 5}
    mocks:
      - {step: ship, output: {tracking: mocked}}
    expect:
      outputs: {shipment: mocked, said: null}
      requests: [{step: charge}]

  - name: a sub-workflow takes its time
    input: {amount: 5}
    mocks:
      - {step: ship, output: {tracking: late}, takes: 20s}
    expect: {outputs: {shipment: late, said: null}, duration: 20s}

  - name: a sub-workflow that is mocked fails
    input: {amount: 5}
    mocks:
      - {step: ship, error: {code: child_failed, class: child, details: {why: closed}}}
    expect:
      status: failed
      error: {code: child_failed, step: ship, details: {why: closed}}

  - name: a step of a child is mocked by its workflow
    input: {amount: 5}
    mocks:
      - {workflow: shipping, step: book, output: {body: 2Z}}
    expect: {outputs: {shipment: 2Z, said: null}, requests: [{step: charge}]}

  - name: a step that computes can be mocked
    input: {amount: 5}
    mocks:
      - {step: tell_sales, error: {code: smtp_down, class: connect, message: no answer}}
    expect:
      status: completed
      steps: {tell_sales: {status: failed, error: {code: smtp_down, message: no answer}}}

  - name: a mocked delay takes no time
    input: {amount: 500}
    mocks: [{step: cool_down, output: {}}]
    expect: {duration: 0, steps: {cool_down: completed}}

  - name: secrets are sent, and seen by nobody
    input: {amount: 5}
    mocks:
      - step: charge
        status: 200
        headers: {x-echo: sk_test_secret_1}
        body: {id: ch_1, said: "you sent sk_test_secret_1"}
    expect:
      outputs: {shipment: 1Z, said: "you sent ***"}
      requests:
        - {step: charge, headers: {authorization: Bearer sk_test_secret_1}}
        - {}

  - name: the input is wrong
    input: {amount: none}
    expect: {status: refused, error: {code: input_invalid}}
"""

EACH = """\
name: each
inputs: {skus: {type: array, default: []}}
steps:
  - id: reserve
    type: http
    foreach: {items: "{{ input.skus }}", max_parallel: 5, tolerate: 100%}
    retry: {attempts: 2, delay: 1s}
    config: {method: PUT, url: "https://stock.example/{{ item }}", json: {sku: "{{ item }}", n: "{{ item_index }}"}}
    output: "{{ response.body }}"
  - id: parcel
    type: sub_workflow
    foreach: {items: "{{ steps.reserve.output }}"}
    config: {workflow: parcels, input: {}}
  - {id: later, type: delay, config: {until: "2026-03-02T00:00:00Z"}}
outputs: {reserved: "{{ steps.reserve.output }}", parcels: "{{ steps.parcel.output }}"}
"""

EACH_CASES = """\
workflow: each.yaml
now: 2026-03-01T06:00:00Z
mocks:
  - {step: parcel, output: p}
cases:
  - name: items are told apart
    input: {skus: [a, b, c]}
    mocks:
      - {step: reserve, when: {item: b}, body: for b}
      - {step: reserve, when: {item_index: 2}, body: third}
      - {url: "https://stock.example/*", when: {json: {sku: a}}, body: by request}
    expect:
      outputs: {reserved: [by request, for b, third], parcels: [p, p, p]}
      steps: {"reserve[1]": completed, "reserve[2]": {output: third}}
      duration: 18h
      requests:
        - {item_index: 0, url: https://stock.example/a}
        - {item_index: 1, url: https://stock.example/b}
        - {item_index: 2, url: https://stock.example/c}

  - name: each item has the answers from the first one on
    input: {skus: [a, b, c, d]}
    mocks:
      - step: reserve
        answers: [{status: 503}, {body: at last}]
    expect:
      outputs: {reserved: [at last, at last, at last, at last], parcels: [p, p, p, p]}
      steps: {"reserve[3]": {attempts: 2}}

  - name: the answers to an address are for each item as well
    input: {skus: [a, b]}
    mocks:
      - url: https://stock.example/*
        answers: [{status: 503}, {body: [1]}]
    expect: {outputs: {reserved: [[1], [1]], parcels: [p, p]}}

  - name: what is rendered and the number of the attempt can decide
    input: {skus: [a, b]}
    mocks:
      - {step: reserve, when: {attempt: 1, config: {json: {sku: b}}}, status: 500}
      - {step: reserve, body: fine}
    expect:
      steps: {"reserve[0]": {attempts: 1}, "reserve[1]": {attempts: 2}}
"""

MARK = """
name: mark
steps:
  - {id: mark, type: transition, config: {instance: "{{ input.i }}", to: paid}}
outputs: {state: "{{ steps.mark.output.to_state }}"}
"""

MARK_CASES = """
workflow: mark.yaml
cases:
  - name: a transition that is mocked
    input: {i: 00000000-0000-0000-0000-000000000001}
    mocks: [{step: mark, output: {to_state: paid}}]
    expect: {outputs: {state: paid}}
  - name: a transition that is not
    input: {i: 00000000-0000-0000-0000-000000000001}
    expect: {status: failed, error: {code: instance_not_found}}
"""

WAY = """\
name: way
steps:
  - {id: first, type: http, depends_on: [], config: {url: "https://a.example/1"}, retry: {attempts: 1}}
  - {id: second, type: http, depends_on: [], config: {url: "https://a.example/2"}, retry: {attempts: 1}}
  - {id: third, type: http, depends_on: [], config: {url: "https://a.example/3"}, retry: {attempts: 1}}
  - id: last
    type: http
    depends_on: [first, second, third]
    config: {url: "https://a.example/old?x=1", response: bytes}
    retry: {attempts: 1}
outputs: {last: "{{ steps.last.output }}", at: "{{ execution.started_at }}"}
"""

WAY_CASES = """\
workflow: way.yaml
now: 2026-05-05T05:05:05Z
cases:
  - name: a redirect is followed, and an answer of bytes read
    mocks:
      - {url: "https://a.example/old?x=1", status: 302, headers: {location: /new}}
      - {url: https://a.example/old, status: 418}
      - url: https://a.example/new
        body: AAECAw==
        body_encoding: base64
        headers: {content-type: image/png}
        takes: 1s
      - {url: "https://a.example/*", body: 1}
    expect:
      outputs:
        at: {$matches: "^2026-05-05"}
        last:
          status: 200
          headers: {content-type: image/png}
          header_values: {}
          links: {}
          body: AAECAw==
          body_encoding: base64
          duration_ms: 1000
      requests: [{step: first}, {step: second}, {step: third}, {step: last}, {step: last, url: https://a.example/new}]

  - name: what is first by the clock is first
    mocks:
      - {url: https://a.example/*, body: x, takes: 1s}
    expect:
      duration: 2s
      requests: [{step: first}, {step: second}, {step: third}, {step: last}]
"""

BOUNDED = """\
name: bounded
settings: {timeout: 60s}
steps:
  - {id: first, type: http, depends_on: [], config: {url: "https://a.example/"}, timeout: 5m, retry: {attempts: 1}}
  - {id: nap, type: delay, depends_on: [], config: {seconds: 3600}}
  - {id: after, type: log, depends_on: [nap], config: {message: awake}}
  - {id: always, type: log, depends_on: [after, first], join: always, config: {message: over}}
"""

BOUNDED_CASES = """\
workflow: bounded.yaml
cases:
  - name: an execution that is active for too long fails, whatever it waits for
    mocks: [{step: first, takes: 2m}]
    expect:
      status: failed
      error: {code: execution_timeout}
      steps: {first: cancelled, nap: cancelled, always: completed}
      duration: 60s

  - name: waiting is not being active
    mocks: [{step: first, takes: 30s}]
    expect: {duration: 1h, steps: {first: completed, after: completed}}
"""

LIMITED = """\
name: limited
settings: {concurrency: {limit: 1, when_full: reject}}
steps:
  - {id: a, type: log, limit: nobody-has-set-it, depends_on: [], config: {message: a}}
  - {id: b, type: log, limit: nobody-has-set-it, depends_on: [a], config: {message: b}}
"""

LIMITED_CASES = """\
workflow: limited.yaml
cases:
  - name: limits hold in no case
    expect: {steps: {a: completed, b: completed}}
"""

FAILING_CASES = """\
workflow: orders.yaml
also: shipping.yaml
secrets: {STRIPE_KEY: sk_test_secret_1}
mocks:
  - {step: charge, status: 200, body: {id: ch_1, said: sk_test_secret_1}}
cases:
  - name: nothing answers
    input: {amount: 5}
    expect: {status: failed}

  - name: differences
    input: {amount: 5}
    mocks: [{step: ship, output: {tracking: 1Z}}]
    expect:
      status: failed
      outputs: {shipment: 2Z, more: 1}
      steps:
        small: skipped
        ship: {attempts: 2}
      branches: {check_amount: true}
      duration: 1h
      requests:
        - {step: charge, method: GET, json: {amount: 6}, headers: {authorization: Bearer none}}
        - {step: ship}

  - name: a secret is not named
    input: {amount: 5}
    secrets: {STRIPE_KEY: other_secret_2}
    mocks: [{step: ship, output: {tracking: 1Z}}, {step: ship, when: {attempt: 2}, output: 1}]
    expect:
      requests: [{headers: {authorization: other_secret_2}}, {}]
"""
