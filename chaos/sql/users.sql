-- The tables of the users whose workflows are disturbed. An account begins with 1,000.

create schema chaos;

create table chaos.accounts (
    account int primary key,
    balance bigint not null default 1000
);
insert into chaos.accounts (account) select generate_series(0, 19);

-- Money that was added to an account, or taken from it: once for each part of a transfer.
create table chaos.movements (
    token   text not null,
    part    text not null,
    account int not null references chaos.accounts,
    amount  bigint not null,
    primary key (token, part)
);

-- Money that was moved in one transaction. Nothing but the transaction makes a payment happen once.
create table chaos.payments (
    token  text not null,
    source int not null references chaos.accounts,
    target int not null references chaos.accounts,
    amount bigint not null
);

-- A row for each execution of an activity that is executed at most once.
create table chaos.executions (token text not null);

-- A row that is inserted in the transaction that starts its run.
create table chaos.orders (token text primary key);

-- A row that is inserted in the transaction that sends a signal.
create table chaos.letters (
    token  text not null,
    number int not null,
    primary key (token, number)
);
