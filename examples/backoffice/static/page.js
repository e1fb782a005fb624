"use strict";
const said = document.getElementById("said");

async function refresh() {
	const old = document.getElementById("jobs");
	if (document.hidden || old.querySelector(":active")) return;
	const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
	const page = new DOMParser().parseFromString(await answer.text(), "text/html");
	const focus = document.activeElement?.id;
	const jobs = page.getElementById("jobs");
	if (!jobs || old.querySelector(":active")) return;
	old.replaceWith(jobs);
	if (focus) document.getElementById(focus)?.focus();
}

async function send(form, button) {
	const data = new FormData(form, button);
	if (form.method !== "post") return fetch(form.getAttribute("action") + "?" + new URLSearchParams(data));
	const isExport = form.getAttribute("action").endsWith("/exportData");
	return fetch(form.getAttribute("action"), { method: "POST", body: isExport ? JSON.stringify(Object.fromEntries(data)) : data });
}

document.addEventListener("submit", async (event) => {
	event.preventDefault();
	said.textContent = "…";
	try {
		const answer = await (await send(event.target, event.submitter)).json();
		said.textContent = Object.entries(answer).map(([key, value]) => key + ": " + value).join(", ");
	} catch (error) {
		said.textContent = "No answer: " + error.message;
	}
	refresh().catch(() => {});
});

setInterval(() => refresh().catch(() => { said.textContent = "The server does not answer."; }), 1000);
