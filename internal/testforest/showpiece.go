// SPDX-License-Identifier: Apache-2.0

package testforest

// Showpiece has pid namespaces three deep, threads, a zombie, a ghost group and a
// ghost session: what README.md and the demo show.
const Showpiece = `
	outside fork init newpid
	init setsid
	init fork web
	web setsid
	web thread io
	web thread gc
	web fork worker
	init fork job
	job setpgid self self
	job fork part
	job exit 0
	init reap job
	init fork cron
	cron fork backup
	backup exit 3
	init fork login
	login setsid
	login fork agent
	login exit 0
	init reap login
	init fork engine
	engine fork box newpid
	box setsid
	box fork shell
	shell setpgid self self
	shell fork inner newpid
	inner fork app
	app thread poll`
