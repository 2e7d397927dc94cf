"""The console's pages, a module each.

How to add one:

1. ``carillon/console/pages/silences.py``: a function that reads, and the page that it belongs to::

       async def show(visit: Visit) -> dict[str, Any]:
           silences, after = await read_silences(visit.backend.store, visit.backend.keys, visit.cursor, PAGE_ROWS)
           return {"silences": silences, "after": after}

       PAGES = (Page("silences", "/silences", "Silences", show, section=Section.WATCH),)

   ``visit`` says who asks (``visit.session``, ``visit.may(Role.OPERATOR)``), what stands in the path
   (``visit.params``) and behind the question mark (``visit.asked("q")``, ``visit.cursor``). ``visit.backend`` has
   ``store``, ``keys``, ``topics``, ``rules`` and ``publish(topic, payload)``. Read at most ``PAGE_ROWS`` rows and go on
   by a cursor: a page has 5 s, then it is given up. Raise ``NotThere("…")`` for what is not there. Return a
   ``web.Response`` for another kind of answer, such as JSON.

2. ``carillon/console/templates/silences.html``, which extends ``base.html`` and fills ``content``. What is put in is
   escaped, and a name that is not there is an error. ``parts.html`` has times, badges, forms, empty lists and the link
   to the next page; the classes of ``static/console.css`` are named in its comments. A template has no ``style`` or
   ``on…`` attribute and no script: the policy refuses them. In SVG use attributes (``fill``, ``x``) and classes.
   Addresses are shown by ``shared.directory.masking.masked``, and whole only after an action of an operator.

3. A line ``*silences.PAGES`` in ``carillon/console/site_map.py``. The tests of roles, tokens, injected scripts, axe
   and narrow screens take the page from there.

An action is a form of the page. Declare it beside the page::

    async def expire(visit: Visit, form: Form) -> Done:
        note = form.text("note")
        form.check()
        receipt = await visit.backend.publish(f"directory/silence/{visit.params['id']}", b"")
        …
        return Done("The silence has ended.", to="/silences", before={…}, after={…})

    Action("/silences/{id}/expire", Role.RESPONDER, "silence.expire", expire, target="id", keeps=("note",))

and call ``parts.act("/silences/" ~ (id | segment) ~ "/expire", "End it", role="responder")`` in the template. The
framework checks role, origin and token, and writes the log of changes. ``Done(to=None, shown={…})`` shows the page
again with ``shown`` beside what it reads; so addresses are revealed. Raise ``NotDone("…")`` for what cannot be done as
things are.

A page with ``live_s`` is kept fresh: put what changes into ``templates/NAME.live.html``, and into the page
``{% call parts.live() %}{% include "NAME.live.html" %}{% endcall %}``. It is read once for all who look at it, so it
shows nobody's name.
"""
