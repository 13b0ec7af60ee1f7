with shares as (
    select country, share, cast(sum(share) over (order by country) as bigint) as ends_at
    from countries
),

home_of as (
    select country, unnest(range(ends_at - share, ends_at)) as slot
    from shares
),

numbered as (
    select unnest(generate_series(1, cast(600 * getvariable('scale') as bigint))) as number
),

drawn as (
    select
        number,
        number * 7919 % 1200 as combination,
        cast(hash(number, 'company size') % 100 as integer) as size_draw,
        hash(number, 'company home') % 100 as slot
    from numbered
)

select
    format('HP-{:04d}', drawn.number) as company_id,
    [
        'Blue Door', 'Old Mill', 'Red Lantern', 'Sunday', 'Corner House', 'Paper Boat', 'Wild Fig', 'Stone Bridge',
        'Little Owl', 'North Star', 'Copper Kettle', 'Green Gate', 'Salt & Rye', 'Driftwood', 'Magpie', 'Juniper',
        'Halfway', 'Silver Birch', 'Foxglove', 'Harvest', 'Kingfisher', 'Maple Row', 'Quiet Hour', 'Ember', 'Anchor',
        'Blackbird', 'Meadow', 'Tram Stop', 'Parkside', 'Velvet', 'Canal Street', 'Orchard', 'Linden', 'Papaya',
        'Rooftop', 'Sparrow', 'Station', 'Thistle', 'Upland', 'Vesper', 'Waterline', 'Yellow Brick', 'Almond', 'Basil',
        'Cedar', 'Dune', 'Eastside', 'Fern', 'Goldfinch', 'Hazel', 'Indigo', 'Lantern', 'Mosaic', 'Nettle', 'Opal',
        'Pebble', 'Saffron', 'Tandem', 'Umber', 'Willow'
    ][1 + drawn.combination % 60] || ' ' || [
        'Café', 'Coffee House', 'Espresso Bar', 'Bakery', 'Roastery', 'Bistro', 'Kitchen', 'Brasserie', 'Hotel', 'Inn',
        'Guesthouse', 'Suites', 'Offices', 'Coworking', 'Studio', 'Partners', 'Deli', 'Market', 'Provisions', 'Trading'
    ][1 + drawn.combination // 60] as company,
    case
        when drawn.combination // 60 < 5 then 'Café'
        when drawn.combination // 60 < 8 then 'Restaurant'
        when drawn.combination // 60 < 12 then 'Hotel'
        when drawn.combination // 60 < 16 then 'Office'
        else 'Retail'
    end as industry,
    case
        when drawn.size_draw < 66 then 'Small business'
        when drawn.size_draw < 93 then 'Mid-market'
        else 'Enterprise'
    end as segment,
    home_of.country,
    countries.region,
    case countries.region
        when 'EMEA' then ['Freya Holm', 'Tomas Ferreira', 'Colette Aubert']
        when 'AMER' then ['Dana Whitfield', 'Marcus Bell', 'Renata Prado']
        else ['Haruki Endo', 'Mei Tanaka', 'Josh Kearney']
    end[1 + drawn.number % 3] as account_owner
from drawn
inner join home_of using (slot)
inner join countries on home_of.country = countries.country
