"use strict";
// Shows the OpenAPI document of this listener, and tries its operations out. Texts of the document
// become text nodes, never markup.

const VERBS = ["get", "put", "post", "patch", "delete"];
const at = (id) => document.getElementById(id);
let api;

/** An element with attributes and children. */
function make(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Text in which `code` stands between backticks. */
function prose(text) {
  const parts = (text || "").split("`");
  return make("p", {}, ...parts.map((part, i) => (i % 2 ? make("code", {}, part) : part)));
}

/** What a reference leads to. */
function resolved(node) {
  const way = node && node.$ref && node.$ref.slice(2).split("/");
  return way ? way.reduce((from, step) => from[step], api) : node || {};
}

/** A schema in a few words; names of schemas are links. */
function words(schema) {
  if (!schema) return ["anything"];
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return [make("a", { href: `#schema-${name}` }, name)];
  }
  for (const word of ["oneOf", "anyOf", "allOf"]) {
    if (schema[word]) {
      const joint = word === "allOf" ? " and " : " or ";
      return schema[word].flatMap((part, i) => (i ? [joint, ...words(part)] : words(part)));
    }
  }
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" | ")];
  const types = [].concat(schema.type || []);
  if (types.includes("array")) return ["list of ", ...words(schema.items)];
  if (schema.properties) return ["object"];
  if (schema.additionalProperties) return ["object of ", ...words(schema.additionalProperties)];
  const bounds = [["≥", schema.minimum], ["≤", schema.maximum]].filter(([, bound]) => bound !== undefined);
  const shown = bounds.map(([sign, bound]) => ` ${sign} ${bound}`).join(",");
  return [(types.join(" | ") || "anything") + shown];
}

/** The members of an object, each with its type and meaning. */
function members(schema) {
  const parts = schema.allOf || schema.oneOf || [];
  const rows = Object.entries(schema.properties || {}).map(([name, member]) => {
    const must = (schema.required || []).includes(name);
    return make("tr", {}, make("td", {}, make("code", {}, name), must ? " *" : ""),
      make("td", {}, ...words(member)), make("td", {}, prose(member.description)));
  });
  return [
    rows.length ? make("table", {}, ...rows) : null,
    ...parts.map((part) => make("div", {}, part.$ref ? make("p", {}, ...words(part)) : null, ...members(part))),
    !rows.length && !parts.length ? make("p", {}, ...words(schema)) : null,
  ].filter(Boolean);
}

/** An example of a body: its own, or one made from the types. */
function example(schema, depth = 0) {
  const found = resolved(schema);
  if (found.example !== undefined) return found.example;
  if (found.examples) return found.examples[0];
  if (found.default !== undefined) return found.default;
  if (found.enum) return found.enum[0];
  const part = (found.oneOf || found.anyOf || found.allOf || [])[0];
  if (part) return example(part, depth);
  const type = [].concat(found.type || "object")[0];
  if (type === "array") return [];
  if (type === "object") {
    const wanted = depth > 3 ? [] : found.required || [];
    return Object.fromEntries(wanted.map((name) => [name, example((found.properties || {})[name], depth + 1)]));
  }
  return { string: "", integer: 1, number: 1, boolean: false, null: null }[type];
}

function parameters(operation) {
  return (operation.parameters || []).map((parameter) => {
    const { name, in: place, required, description, schema, example: shown } = resolved(parameter);
    const value = place === "path" && shown !== undefined ? String(shown) : "";
    const input = make("input", { "aria-label": name, value, "data-name": name, "data-place": place });
    const row = make("tr", {}, make("td", {}, make("code", {}, name), required ? " *" : "", make("div", { class: "dim" }, place)),
      make("td", {}, ...words(schema), prose(description)), make("td", {}, input));
    return { input, row };
  });
}

function content(of) {
  return Object.entries((of && of.content) || {}).map(([type, { schema }]) =>
    make("p", {}, make("code", {}, type), " ", ...words(schema)));
}

/** Sends what the form says, and shows what comes back. */
async function send(verb, path, inputs, body, type, shown) {
  let url = path;
  const query = new URLSearchParams();
  const headers = {};
  if (at("key").value) headers.Authorization = `Bearer ${at("key").value}`;
  for (const { value, dataset } of inputs) {
    if (dataset.place === "path") url = url.replace(`{${dataset.name}}`, encodeURIComponent(value));
    else if (value && dataset.place === "query") query.set(dataset.name, value);
    else if (value) headers[dataset.name] = value;
  }
  const request = { method: verb.toUpperCase(), headers };
  if (body && body.files) {
    request.body = new FormData();
    if (body.files[0]) request.body.set("model", body.files[0]);
  } else if (body && body.value.trim()) {
    request.body = body.value;
    headers["Content-Type"] = type;
  }
  shown.textContent = "…";
  try {
    const began = performance.now();
    const answer = await fetch(url.slice(1) + (query.size ? `?${query}` : ""), request);
    const text = await answer.text();
    const took = Math.round(performance.now() - began);
    const heads = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    let pretty = text;
    try { pretty = JSON.stringify(JSON.parse(text), null, 1); } catch { /* It is no JSON. */ }
    shown.textContent = `${answer.status} ${answer.statusText} (${took} ms)\n${heads}\n\n${pretty.slice(0, 100000)}`;
  } catch (error) {
    shown.textContent = `no answer: ${error.message}`;
  }
}

function inside(verb, path, operation) {
  const rows = parameters(operation);
  const wanted = operation.requestBody && resolved(operation.requestBody);
  const [type, form] = Object.entries((wanted && wanted.content) || {})[0] || [];
  let body = null;
  if (type && type.startsWith("multipart")) body = make("input", { type: "file", "aria-label": "model" });
  else if (type) body = make("textarea", { spellcheck: "false", "aria-label": "body" });
  if (body && !body.files) body.value = JSON.stringify(example(form.schema), null, 1) ?? "";
  const shown = make("pre", { hidden: "" });
  const go = () => {
    shown.hidden = false;
    send(verb, path, rows.map(({ input }) => input), body, type, shown);
  };
  const statuses = Object.entries(operation.responses).map(([status, response]) =>
    make("tr", {}, make("td", {}, status),
      make("td", {}, prose(resolved(response).description), ...content(resolved(response)))));
  return make("div", { class: "inside" }, prose(operation.description),
    rows.length ? make("h3", {}, "Parameters") : null,
    rows.length ? make("table", {}, ...rows.map(({ row }) => row)) : null,
    body ? make("h3", {}, "Body") : null, ...content(wanted), body,
    make("p", {}, make("button", { onclick: go }, "Send")), shown,
    make("h3", {}, "Answers"), make("table", {}, ...statuses));
}

function row(verb, path, operation) {
  const card = make("details", { id: operation.operationId },
    make("summary", {}, make("span", { class: `verb ${verb}` }, verb), make("span", { class: "path" }, path),
      make("span", { class: "says" }, operation.summary || "")));
  // Built when it is opened: there are many.
  card.addEventListener("toggle", () => {
    if (card.open && card.children.length === 1) card.append(inside(verb, path, operation));
  });
  card.dataset.text = `${verb} ${path} ${operation.summary} ${operation.operationId}`.toLowerCase();
  return card;
}

function show() {
  document.title = api.info.title;
  at("title").textContent = `${api.info.title} ${api.info.version}`;
  at("about").replaceWith(prose(api.info.description));
  const groups = new Map((api.tags || []).map(({ name, description }) => [name, { description, rows: [] }]));
  for (const [path, item] of Object.entries(api.paths)) {
    for (const verb of VERBS.filter((verb) => item[verb])) {
      const tag = (item[verb].tags || [])[0] || "more";
      if (!groups.has(tag)) groups.set(tag, { rows: [] });
      groups.get(tag).rows.push(row(verb, path, item[verb]));
    }
  }
  at("operations").replaceChildren(...[...groups].map(([name, { description, rows }]) =>
    make("section", { class: "group" }, make("h2", {}, name), prose(description), ...rows)));
  const schemas = Object.entries(api.components.schemas).map(([name, schema]) =>
    make("details", { id: `schema-${name}` }, make("summary", {}, make("span", { class: "path" }, name)),
      make("div", { class: "inside" }, prose(schema.description), ...members(schema))));
  at("schemas").replaceChildren(make("h2", {}, "Schemas"), ...schemas);
}

/** Opens what the address names. */
function open() {
  const named = at(decodeURIComponent(location.hash.slice(1)));
  if (named && named.tagName === "DETAILS") named.open = true;
  if (named) named.scrollIntoView();
}

at("filter").addEventListener("input", ({ target }) => {
  const text = target.value.toLowerCase();
  for (const card of document.querySelectorAll("#operations details")) card.hidden = !card.dataset.text.includes(text);
  for (const group of document.querySelectorAll(".group")) group.hidden = !group.querySelector("details:not([hidden])");
});
addEventListener("hashchange", open);
fetch("openapi.json")
  .then((answer) => answer.json())
  .then((found) => { api = found; show(); open(); })
  .catch((error) => { at("operations").textContent = `the document cannot be read: ${error.message}`; });
