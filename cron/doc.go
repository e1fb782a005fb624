// Package cron reads cron expressions and tells when they fire: [Parse], then [Schedule.Next] and [Schedule.Prev].
//
//	0 7 * * MON-FRI                     at 07:00, Monday to Friday
//	*/15 9-17 * * *                     every 15 minutes from 09:00 to 17:59
//	0 0 L * *                           at the end of every month, 00:00 on its last day
//	30 0 12 ? * FRI#2 2027-2029         seven fields: 12:00:30, the second Friday of the month, in three years
//	CRON_TZ=America/New_York @daily     at midnight in New York
//	H H(0-5) * * *                      once a night, at a time taken from a name
//
// It runs nothing, holds no state and knows no clock; it imports the standard library only.
//
// # Fields
//
// A spec has five, six or seven fields with spaces between them. Six begin with the second, which is 0 otherwise; seven end with
// the year, which is any otherwise. Letters may be small or capital. A spec is at most [MaxSpec] bytes long.
//
//	field          values               also
//	second         0-59                 H
//	minute         0-59                 H
//	hour           0-23                 H
//	day-of-month   1-31                 H ? L L-n LW nW
//	month          1-12 or JAN-DEC      H
//	day-of-week    0-7 or SUN-SAT       H ? nL n#k      0 and 7 are Sunday
//	year           1970-2199
//
// A field is a list of items with commas between them, and stands for the values of all of them:
//
//	item       values
//	*          all
//	n          n, a number or a name
//	a-b        those from a to b
//	*/s        every s-th, from the least on; s is at most the number of values of the field
//	n/s        every s-th from n to the greatest, which is 6 for days of the week
//	a-b/s      every s-th from a to b
//	?          all; it stands alone
//	L          the last day of the month
//	L-n        the day n days before the last of the month; n is 1 to 30
//	nW         the weekday, Monday to Friday, nearest to day n, in the same month
//	LW         the last weekday of the month
//	nL         the last weekday n of the month: FRIL or 5L for the last Friday
//	n#k        the k-th weekday n of the month; k is 1 to 5: FRI#2 for the second Friday
//
// Ranges of months and of days of the week go round the end: NOV-FEB is November to February, FRI-MON is Friday to Monday. In the
// other fields a range that runs backwards is an error: with FRI, 22-2 would mean the first hours of the Friday, not those
// that follow it. Write 22-23,0-2.
//
// A month that has no such day is passed over: 31, 31W, L-30 and FRI#5 fire in some months only. A spec for which no day ever comes, such
// as 0 0 30 2 *, is an error.
//
// Names, lists, ranges, steps and 7 for Sunday are those of Vixie cron (crontab(5)); seconds, years, ?, L, W and # are those of
// Quartz, but days of the week are numbered as by cron.
//
// # Days
//
// If both day fields are restricted, a day need only match one of them: 0 0 13 * FRI fires on each 13th and on each Friday. A
// field that begins with *, or is ?, is not restricted. If one of them is so, a day must match both. That is Vixie cron's rule to
// the letter: */2 begins with *, so 0 0 */2 * MON fires on the Mondays that are odd days; 1-31/2 instead means either. H/2 counts
// as */2 does.
//
// # H
//
// H spreads load, as in Jenkins: it stands for a value that comes from the name given with [HashOf] and from nothing else, so
// that a hundred daily jobs do not start at the same minute, and each at the same time every day.
//
//	H            one of all values; of 1-28 in the day-of-month
//	H(a-b)       one of the values from a to b
//	H/s          every s-th value of those, from one of the first s on
//	H(a-b)/s     the same, from a to b
//
// The value is number h modulo n of n values, where h is the FNV-1a hash of 64 bits of the name, a zero byte and the field's name
// in the table above, its upper half added to the lower by exclusive or. It stays the same in all versions. There is no H for years.
//
// # Descriptors
//
//	@yearly @annually    0 0 1 1 *
//	@monthly             0 0 1 * *
//	@weekly              0 0 * * 0
//	@daily @midnight     0 0 * * *
//	@hourly              0 * * * *
//	@every 1h30m         every so often: a Go duration of whole seconds, 1s or more
//
// What @every counts from is the caller's business: Next is the given time and the interval. A scheduler that asks for the time
// after the last planned one keeps a steady rhythm; [Schedule.Interval] is for one that begins at a time of its own.
// @reboot is an error: it is no time.
//
// # Time zones
//
// A schedule goes by one time zone: that of TZ=Zone or CRON_TZ=Zone before the fields or the descriptor, else that of [In], else
// UTC. The zone of a time given to it does not matter, and those it returns are in its own zone. Zones are loaded by
// [time.LoadLocation]: a program that may run without the system's time zone database should import time/tzdata.
//
// # Changes of the clock
//
// Where clocks are changed, for daylight saving or for any other reason, a schedule does as ISC cron 4.1 does (cron(8)).
//
// A spec is a wildcard if its second, minute or hour field begins with *, or with H/. (ISC cron has no seconds and no H.) Wildcards
// go by what the clock shows: they have an hour twice that comes twice, and do not have one that is skipped.
//
// All other specs are of fixed times. If the clock is put forward over one, it fires at the first instant after the gap; several
// in one gap fire once. If it is put back, a time that the clock shows twice fires the first time only.
//
//	in New York          on the day without 02:00 to 02:59     on the day with 01:00 to 01:59 twice
//	30 2 * * *           03:00                                 02:30
//	30 1 * * *           01:30                                 01:30, the first
//	0,30 1-2 * * *       01:00 01:30 03:00                     01:00 01:30 02:00 02:30
//	*/30 * * * *         … 01:00 01:30 03:00 03:30 …           … 01:00 01:30 01:00 01:30 02:00 …
//	*/30 2 * * *         none                                  02:00 02:30
//
// A clock that is changed by three hours or more has been corrected: what it skips is not made up for, what it repeats fires again.
// So a daily schedule did not fire for 30 December 2011 in Samoa, where that day did not exist.
//
// # Bounds
//
// A schedule fires in the years 1970 to 2199 of its zone. Where nothing is left, Next and Prev return the zero time. They look at
// sets of bits, year by year, month by month and day by day, so the rarest spec is found in some microseconds; they do not allocate.
package cron
