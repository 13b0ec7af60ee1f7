with shares as (
    select country, share, cast(sum(share) over (order by country) as bigint) as ends_at
    from countries
),

home_of as (
    select country, unnest(range(ends_at - share, ends_at)) as slot
    from shares
),

numbered as (
    select unnest(generate_series(1, cast(5000 * getvariable('scale') as bigint))) as number
),

drawn as (
    select
        number,
        hash(number, 'business') % 100 < 30 as business,
        format('HP-{:04d}', 1 + hash(number, 'company') % cast(600 * getvariable('scale') as ubigint)) as company_id,
        hash(number, 'home') % 100 as slot,
        hash(number, 'city') as city_draw,
        hash(number, 'first name') as first_draw,
        hash(number, 'last name') as last_draw,
        hash(number, 'phone') % 100 as phone_draw,
        cast(hash(number, 'channel') % 100 as integer) as channel_draw,
        cast(hash(number, 'campaign') % 100 as integer) as campaign_draw,
        cast(date '2019-03-01' + cast(floor(2811 * pow((hash(number, 'signed up') % 100000) / 100000, 0.6)) as integer) as date)
        as signed_up_on,
        cast(hash(number, 'leaves') % 100 as integer) as leaves_draw,
        cast(45 + hash(number, 'stays') % 900 as integer) as stays,
        (
            hash(number, 'a') % 1000 + hash(number, 'b') % 1000 + hash(number, 'c') % 1000 + hash(number, 'd') % 1000
        ) / 1000.0 - 2 as spread
    from numbered
),

placed as (
    select
        drawn.*,
        companies.company,
        companies.industry,
        coalesce(companies.segment, 'Consumer') as segment,
        companies.account_owner,
        coalesce(companies.country, home_of.country) as country
    from drawn
    left join company_base as companies on drawn.business and drawn.company_id = companies.company_id
    inner join home_of using (slot)
),

named as (
    select
        placed.*,
        countries.region,
        countries.dial_code,
        countries.price_level,
        countries.cities[cast(1 + city_draw % len(countries.cities) as integer)] as city,
        countries.first_names[cast(1 + first_draw % len(countries.first_names) as integer)] as first_name,
        countries.last_names[cast(1 + last_draw % len(countries.last_names) as integer)] as last_name
    from placed
    inner join countries on placed.country = countries.country
),

mailed as (
    select
        *,
        regexp_replace(
            lower(strip_accents(translate(first_name || '.' || last_name, 'łŁøØ', 'lLoO'))), '[^a-z.]', '', 'g'
        ) as mailbox,
        row_number() over (partition by first_name, last_name order by number) as namesake,
        case
            when company is not null
                then regexp_replace(lower(strip_accents(company)), '[^a-z]', '', 'g') || '.example.com'
            else ['example.com', 'example.org', 'example.net'][cast(1 + first_draw % 3 as integer)]
        end as domain
    from named
)

select
    number,
    format('C-{:05d}', number) as customer_id,
    first_name,
    last_name,
    first_name || ' ' || last_name as name,
    -- seven people mistyped their address when they signed up
    case number
        when 137 then mailbox || '@example'
        when 731 then mailbox || ' example.com'
        when 1402 then mailbox || '@@example.org'
        when 2055 then mailbox || '@example,com'
        when 2918 then mailbox || '.example.net'
        when 3644 then mailbox || ' @example.com'
        when 4471 then mailbox || '@'
        else mailbox || (case when namesake > 1 then cast(namesake as varchar) else '' end) || '@' || domain
    end as email,
    dial_code || ' 555 01' || lpad(cast(phone_draw as varchar), 2, '0') || ' '
    || lpad(cast(number % 1000 as varchar), 3, '0') as phone,
    case when business then company_id end as company_id,
    company,
    industry,
    segment,
    account_owner,
    city,
    country,
    region,
    signed_up_on,
    case
        when business and channel_draw < 45 then 'Field sales'
        when business and channel_draw < 65 then 'Trade fair'
        when business and channel_draw < 85 then 'Referral'
        when channel_draw < 58 then 'Web shop'
        when channel_draw < 75 then 'Marketplace'
        when channel_draw < 90 then 'Referral'
        else 'Store'
    end as signup_channel,
    case
        when campaign_draw < 38 then 'Organic'
        when campaign_draw < 60 then 'Paid search'
        when campaign_draw < 76 then 'Social'
        when campaign_draw < 90 then 'Newsletter'
        else 'Partner'
    end as acquisition,
    greatest(signed_up_on, date '2024-01-01') as buys_from,
    case
        when leaves_draw < 32
            then least(date '2026-11-15', greatest(signed_up_on, date '2024-01-01') + stays)
        else date '2026-11-15'
    end as buys_until,
    -- how eagerly the customer buys, as a whole number: companies in bulk, a few of them enormously
    cast(
        least(
            40000,
            case segment
                when 'Consumer' then 1000 when 'Small business' then 4500 when 'Mid-market' then 8000 else 10000
            end
            * exp(1.05 * spread) * (case when business and hash(number, 'whale') % 100 = 0 then 3 else 1 end)
        ) as bigint
    ) as eagerness,
    cast(
        100 * price_level * exp(0.35 * spread)
        * (case segment when 'Consumer' then 1.0 when 'Small business' then 1.0 when 'Mid-market' then 1.4 else 2.2 end)
        as integer
    ) as basket_percent
from mailed
